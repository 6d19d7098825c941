"""Cells that other cells read: an option names a recipe (`Option.needs`), the planner resolves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ablate.config import recipe as recipes
from ablate.config.profile import Profile
from ablate.config.recipe import Recipe, Specs
from ablate.core.errors import SpecError
from ablate.core.registry import Need, connect
from ablate.planning import budgets, differentiable, trainable

# what makes a consistency function of weights: a needed cell has these axes of the recipe that needs it
SHARED = "levels", "noise_precond", "input_precond", "parameterization", "embedding", "network"


@dataclass(frozen=True)
class Needed:
    """A resolved recipe that an option needs, and those that it needs itself. share: see `Need`."""

    recipe: Recipe
    share: float | None
    needs: Mapping[str, Needed] = field(default_factory=dict)


def declared(recipe: Recipe) -> dict[str, Need]:
    """What the options of a recipe need, by axis."""
    found = {axis: part.needs() for axis, part in recipe.parts().items()}
    return {axis: need for axis, need in found.items() if need}


def decides(name: str, recipe: Recipe, needs: Mapping[str, Needed]) -> bool:
    """Whether one of the cells that a recipe needs depends on its axis or field `name`."""
    axis, _, field = name.partition(".")
    if axis in needs:  # the other fields of an option say what it does with that cell
        return not field or field in getattr(recipe, axis).excluded_from_key
    return bool(needs) and axis in SHARED


def own_share(needs: Mapping[str, Any]) -> float:
    """The share of the profile's images that a cell with such needs is trained on itself."""
    return 1 - sum(need.share or 0 for need in _distinct(needs))


def _distinct(needs: Mapping[str, Any]) -> list[Any]:
    """The needs that are different cells; resolved ones are not hashable."""
    every = [*needs.values()]
    return [need for i, need in enumerate(every) if need not in every[:i]]


def parts(profile: Profile, needs: Mapping[str, Any]) -> tuple[Profile, dict[str, Profile]]:
    """The profiles of a cell and of those that it needs, in whole batches that add up to the profile's.

    Args:
        needs: declared or resolved.
    """
    given = {axis: budgets.scaled(profile, need.share or 1) for axis, need in needs.items()}
    used = sum(budgets.scaled(profile, need.share).steps for need in _distinct(needs) if need.share)
    left = (profile.steps - used) * profile.batch
    return profile.model_copy(update={"images": left}) if used else profile, given


def resolve(
    recipe: Recipe,
    profile: Profile,
    specs_of: Callable[[Any, str], Specs],
    shape: tuple[int, int, int],
    above: tuple[str, ...] = (),
) -> dict[str, Needed]:
    """What a recipe needs, by axis, for images of `shape` and the number of images in `profile`.

    Args:
        specs_of: name, place in the file -> specs of a recipe with the profile's adapt.
        above: the recipes that need this one.
    Raises:
        SpecError: no such recipe, a circle, or too few images for a part of the run.
    """
    found = {}
    for axis, need in declared(recipe).items():
        place = f"{axis}.recipe: {need.recipe!r}"
        if need.recipe in above:
            raise SpecError(f"{place}: the recipes form a circle: {' -> '.join((*above, need.recipe))}")
        own_parts = recipes.build(specs_of(need.recipe, f"{axis}.recipe")).parts()
        shared = {name: part for name, part in recipe.parts().items() if name in SHARED}
        try:
            made = Recipe(**connect({**own_parts, **shared})).for_images(shape)
            getattr(recipe, axis).suits(made.parts())
            recipes.agree(made)
            differentiable.check(made, shape)
            made = budgets.fitted(made, need.share or 1, ())
            own = budgets.scaled(profile, need.share or 1)
            if own.steps < 1:
                raise SpecError(f"share {need.share:g} of {profile.images} images is less than a batch")
            trainable.check(made, own)
            held = resolve(made, own, specs_of, shape, (*above, need.recipe))
        except SpecError as error:
            raise error.under(place) from None
        found[axis] = Needed(made, need.share, held)
    if own_share(found) < 1:
        left = parts(profile, found)[0]
        if left.images < left.batch:
            shares = ", ".join(f"{axis}.share={need.share}" for axis, need in found.items())
            raise SpecError(f"{shares}: no images are left of {profile.images} after the needed cells")
        trainable.check(recipe, left)
    return found
