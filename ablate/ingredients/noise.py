"""noise: sigma (N,) -> probability (N-1,) of the pair (sigma_i, sigma_{i+1}).

`quantile(u (B,), levels)` gives sigma (B,), float64: the inverse CDF of the distribution in the limit of large N.
Only pairings without a ladder need it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from ablate.core.lazy import torch
from ablate.core.registry import Axis

noise = Axis(__doc__, default="lognormal")

PMean = Annotated[float, Field(ge=-20, le=20, json_schema_extra={"search": {"low": -2.5, "high": 1.0}})]
PStd = Annotated[float, Field(gt=0, le=20, json_schema_extra={"search": {"low": 0.8, "high": 3.0}})]


@noise("uniform")
@dataclass(frozen=True)
class Uniform:
    """p_i = 1 / (N - 1). Source: CM algorithm 3."""

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return torch.full((len(sigma) - 1,), 1 / (len(sigma) - 1), dtype=torch.float64, device=sigma.device)

    def quantile(self, u: torch.Tensor, levels: Any) -> torch.Tensor:
        """Uniform over positions on the ladder: levels.at(u)."""
        sigma: torch.Tensor = levels.at(u)
        return sigma


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
        # in a tail erf loses digits; erfc of the mirrored side keeps them
        mass = torch.where(
            z[:-1] > 0, torch.erfc(z[:-1]) - torch.erfc(z[1:]), torch.erf(z[1:]) - torch.erf(z[:-1])
        )
        return mass / mass.sum()

    def quantile(self, u: torch.Tensor, levels: Any) -> torch.Tensor:
        """exp(p_mean + p_std Phi^-1(.)): ln sigma is normal, truncated at the ends of the ladder."""
        ends = torch.tensor([levels.sigma_min, levels.sigma_max], dtype=torch.float64, device=u.device)
        z = (ends.log() - self.p_mean) / self.p_std
        side = -1 if z[0] > 0 else 1  # in the upper tail the mirrored side is more precise
        first, last = torch.special.ndtr(side * z)
        place = side * torch.special.ndtri(first + u.double() * (last - first))
        return torch.exp(self.p_mean + self.p_std * place).clamp(levels.sigma_min, levels.sigma_max)
