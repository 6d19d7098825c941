"""Whether a recipe can be trained with a profile: its formulas are defined, and the weights that it reads fit."""

from __future__ import annotations

import math

from ablate.config.profile import Profile
from ablate.config.recipe import Recipe
from ablate.core.errors import SpecError
from ablate.data import datasets
from ablate.ingredients.levels import LEAST_GAP
from ablate.planning import differentiable


def check(recipe: Recipe, profile: Profile) -> None:
    """Raise a SpecError if a run of this profile has no ladder, no pairs to draw, or no such levels of sampling."""
    recipe.curriculum(0, profile.steps)  # some curricula need a minimum number of steps
    recipe.pairing.check(profile.steps)
    if profile.compile and recipe.pairing.derives:
        law = (
            f"pairing {recipe.pairing.name} differentiates the network forwards, which compiled blocks cannot"
        )
        raise SpecError(f"profile.compile: true: {law}; set it to false")
    top, low = (getattr(recipe.levels, name, None) for name in ("sigma_max", "sigma_min"))
    middle = profile.evaluation.sigma_mid
    steps = [*([] if top is None else [top]), *middle]
    if middle and (steps != sorted(steps, reverse=True) or (low is not None and middle[-1] <= low)):
        law = f"levels must descend from at most sigma_max={top} to above sigma_min={low}"
        raise SpecError(f"profile.evaluation.sigma_mid: {list(middle)}: {law}")
    if level := recipe.teacher.level:
        if not (low or 0) * (1 + LEAST_GAP) <= level < (top or math.inf):
            law = f"must be at least 0.1 % above sigma_min={low} and below sigma_max={top}"
            raise SpecError(f"teacher.level: {level}: {law}")
        if middle and middle[-1] < level:
            law = f"below teacher.level={level} the model is another cell's network; use no lower levels"
            raise SpecError(f"profile.evaluation.sigma_mid: {list(middle)}: {law}")


def require(recipe: Recipe, profile: Profile | None, shape: tuple[int, int, int]) -> None:
    """Raise a SpecError at planning, not in the worker, about files that an option reads or a missing derivative.

    Args:
        profile: None if its images are not at hand; weights are then not compared with the network.
    """
    for part in recipe.parts().values():
        part.require()
    if profile and recipe.init_from.reads_files:
        recipe.init_from.fits(recipe.parts(), shape, datasets.classes(profile.data))
    if profile:
        differentiable.check(recipe, shape, datasets.classes(profile.data))
