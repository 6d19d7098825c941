"""Whether the formulas of a recipe are defined for a profile: checked at planning, without torch."""

from __future__ import annotations

from ablate.config.profile import Profile
from ablate.config.recipe import Recipe
from ablate.core.errors import SpecError


def check(recipe: Recipe, profile: Profile) -> None:
    """Raise a SpecError if a run of this profile has no ladder, no pairs to draw, or levels of sampling that rise."""
    recipe.curriculum(0, profile.steps)  # some curricula need a minimum number of steps
    recipe.pairing.check(profile.steps)
    top, low = (getattr(recipe.levels, name, None) for name in ("sigma_max", "sigma_min"))
    middle = profile.evaluation.sigma_mid
    steps = [*([] if top is None else [top]), *middle]
    if middle and (steps != sorted(steps, reverse=True) or (low is not None and middle[-1] <= low)):
        law = f"levels must descend from at most sigma_max={top} to above sigma_min={low}"
        raise SpecError(f"profile.evaluation.sigma_mid: {list(middle)}: {law}")
