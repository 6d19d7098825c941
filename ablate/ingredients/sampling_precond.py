"""sampling_precond: the recipe's parts by axis -> the parts that the sampler replaces, by axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ablate.core.registry import Axis
from ablate.ingredients import input_precond, parameterization

sampling_precond = Axis(__doc__, default="trained")


@sampling_precond("trained")
@dataclass(frozen=True)
class Trained:
    """No part: the sampler uses the trained coefficients. Source: CM (arXiv 2303.01469) algorithm 1."""

    def __call__(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        return {}


@sampling_precond("scheduler")
@dataclass(frozen=True)
class Scheduler:
    """CM's coefficients (`cm` for both axes), whichever were trained, as in diffusers' scheduler.

    Defects D1 to D3 together: the script trains with its own c_in and c_out, but its pipeline samples with these.
    c_noise is not replaced, since the two agree on it. Source: `CMStochasticIterativeScheduler` of diffusers;
    sigma_min is that of the levels.
    """

    sigma_data: Annotated[float, Field(ge=1e-6, le=100)] = 0.5
    replays: ClassVar[tuple[str, ...]] = ("D1-3",)

    def __call__(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "input_precond": input_precond.Cm(self.sigma_data),
            "parameterization": parameterization.Cm(parts["levels"].sigma_min, self.sigma_data),
        }


@sampling_precond("ect")
@dataclass(frozen=True)
class Ect:
    """CM's c_skip and c_out (`cm`) with another sigma_min than in training.

    Defect D29 (locuslab/ect trains with 0 and evaluates with 0.003). To train with 0 as that code does, use
    `parameterization: {name: script, scale_out: true}`.
    """

    sigma_min: Annotated[float, Field(ge=1e-6, lt=1e6)] = 0.003
    replays: ClassVar[tuple[str, ...]] = ("D29",)

    def __call__(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        return {"parameterization": parameterization.Cm(self.sigma_min, parts["parameterization"].sigma_data)}
