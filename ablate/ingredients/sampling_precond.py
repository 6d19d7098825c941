"""sampling_precond: recipe -> recipe, the one whose c_skip, c_out and c_in the sampler uses."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ablate.ingredients import input_precond, parameterization
from ablate.registry import Axis

if TYPE_CHECKING:
    from ablate.recipe import Recipe

sampling_precond = Axis(__doc__, default="trained")


@sampling_precond("trained")
@dataclass(frozen=True)
class Trained:
    """The recipe itself: what was trained is what is sampled."""

    def __call__(self, recipe: Recipe) -> Recipe:
        return recipe


@sampling_precond("scheduler")
@dataclass(frozen=True)
class Scheduler:
    """The coefficients of CM (`cm` for both axes) whatever was trained, as diffusers' scheduler has them.

    Defects D1 to D3 together: the script trains with its own c_in and c_out, and its pipeline samples with these.
    c_noise stays the trained one, for in it the two agree. Source: `CMStochasticIterativeScheduler` of diffusers;
    sigma_min is that of the levels.
    """

    sigma_data: Annotated[float, Field(gt=0, le=100)] = 0.5
    replays: ClassVar[tuple[str, ...]] = ("D1-3",)  # what `doctor` warns of instead of stopping

    def __call__(self, recipe: Recipe) -> Recipe:
        return dataclasses.replace(
            recipe,
            input_precond=input_precond.Cm(self.sigma_data),
            parameterization=parameterization.Cm(recipe.levels.sigma_min, self.sigma_data),
        )
