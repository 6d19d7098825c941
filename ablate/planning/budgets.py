"""`budgets` of an experiment file: every row again, trained with so many times the profile's images."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Annotated

from pydantic import Field

from ablate.config.profile import Profile
from ablate.config.recipe import Recipe
from ablate.core.errors import Problems, SpecError
from ablate.core.section import Section, read

Times = Annotated[list[Annotated[float, Field(gt=0, le=10**6)]], Field(min_length=1)]
OWN = (1.0,)  # the profile's own number of images


class Budgets(Section):
    """Times the profile's images."""

    budgets: Times


def checked(given: object, profile: Profile, where: str) -> tuple[float, ...]:
    """Budgets, smallest first.

    Args:
        where: begins each problem.
    Raises:
        SpecError: none, one that is no number above 0, less than a batch, or as many steps as another.
    """
    try:
        typed = sorted(map(float, read(Budgets, {"budgets": given}, "").budgets))
    except SpecError as error:
        raise SpecError(*(f"{where}{p.removeprefix('.')}" for p in error.problems)) from None
    problems, seen = Problems(), dict[int, float]()
    for budget in typed:
        steps = scaled(profile, budget).steps
        if steps < 1:
            problems.add(
                f"{where}budgets: {budget:g}: this share of {profile.images} images is less than a batch of "
                f"{profile.batch}; needs at least {profile.batch / profile.images:.2g}"
            )
        elif steps in seen:
            same = (
                "is listed twice" if budget == seen[steps] else f"has {steps} steps, as {seen[steps]:g} has"
            )
            problems.add(f"{where}budgets: {budget:g}: {same}")
        seen.setdefault(steps, budget)
    problems.check()
    return tuple(typed)


def scaled(profile: Profile, budget: float) -> Profile:
    """The profile with so many times its images, in whole batches; itself at budget 1."""
    if budget == 1:
        return profile
    images = round(profile.images * budget / profile.batch) * profile.batch
    return profile.model_copy(update={"images": images})


def fitted(recipe: Recipe, budget: float, named: Collection[str]) -> Recipe:
    """The recipe with a decay that covers the same share of a run: decay^(1 / budget), so decay^steps stays the same.

    Args:
        named: fields that the file or the command line sets; a decay among them stays as it is.
    """
    decay = getattr(recipe.averaging, "decay", None)
    if budget == 1 or decay is None or {"averaging", "averaging.decay"} & {*named}:
        return recipe
    longer = round(decay ** (1 / budget), 9)  # rounded, so that all machines have the same key
    return dataclasses.replace(recipe, averaging=dataclasses.replace(recipe.averaging, decay=longer))


def too_short(problems: Sequence[str], budget: float) -> list[str]:
    """One line for a budget with which rows cannot be trained that can be with more images."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return [f"budgets: {budget:g}: {problems[0]}{more}"] if problems else []
