"""noise: sigma (N,) -> probability (N-1,) of the pair (sigma_i, sigma_{i+1})."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ablate.lazy import torch
from ablate.registry import Axis

noise = Axis(__doc__, default="lognormal")

PMean = Annotated[float, Field(ge=-20, le=20)]
PStd = Annotated[float, Field(gt=0, le=20)]


@noise("uniform")
@dataclass(frozen=True)
class Uniform:
    """p_i = 1 / (N - 1). Source: CM algorithm 3."""

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return torch.full((len(sigma) - 1,), 1 / (len(sigma) - 1), dtype=torch.float64, device=sigma.device)


@noise("lognormal")
@dataclass(frozen=True)
class Lognormal:
    """p_i proportional to erf((ln sigma_{i+1} - p_mean) / (sqrt2 p_std)) - erf((ln sigma_i - p_mean) / (sqrt2 p_std)).

    Source: iCT section 3.5. p_mean = +1.1 is defect D12 (two public trainers lost the sign).
    """

    p_mean: PMean = -1.1
    p_std: PStd = 2.0

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        z = (sigma.double().log() - self.p_mean) / (math.sqrt(2) * self.p_std)
        # erfc of the mirrored side keeps the digits that erf loses in a tail
        mass = torch.where(
            z[:-1] > 0, torch.erfc(z[:-1]) - torch.erfc(z[1:]), torch.erf(z[1:]) - torch.erf(z[:-1])
        )
        return mass / mass.sum()
