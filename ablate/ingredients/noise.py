"""noise: sigma (N,) -> probability (N-1,) of the pair (sigma_i, sigma_{i+1}).

`quantile(u (B,), levels)` gives sigma (B,), float64: the inverse CDF of the distribution in the limit of large N.
Only pairings without a ladder need it.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.lazy import torch
from ablate.core.registry import Axis, Option


class Noise(Option):
    """Besides the probabilities, a distribution states on which ladders it is defined."""

    def check(self, low: float, high: float) -> None:
        """Raise a SpecError if it has no probability between the levels `low` and `high`."""


noise = Axis(__doc__, default="lognormal", base=Noise)

PMean = Annotated[float, Field(ge=-20, le=20, json_schema_extra={"search": {"low": -2.5, "high": 1.0}})]
PStd = Annotated[float, Field(ge=1e-3, le=20, json_schema_extra={"search": {"low": 0.8, "high": 3.0}})]


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

    Both tails keep their digits. A ladder beyond about 37 p_std from p_mean, where they end, is refused. With the time
    t = sigma / (1 + sigma) of the linear path it is the logit-normal distribution of t with the same two fields, since
    logit t = ln sigma: MeanFlow (arXiv 2505.13447) has p_mean -0.4, p_std 1.0 on ImageNet.
    Source: iCT section 3.5. p_mean = +1.1 is defect D12 (two public trainers lost the sign).
    """

    p_mean: PMean = -1.1
    p_std: PStd = 2.0

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        z = (sigma.double().log() - self.p_mean) / (math.sqrt(2) * self.p_std)
        low, high = z[:-1], z[1:]
        # in a tail erf loses digits; erfc keeps them
        tail = torch.where(low > 0, torch.erfc(low) - torch.erfc(high), torch.erfc(-high) - torch.erfc(-low))
        mass = torch.where((low > 0) | (high < 0), tail, torch.erf(high) - torch.erf(low))
        return mass / mass.sum()

    def check(self, low: float, high: float) -> None:
        """Raise a SpecError if it has no probability between the levels `low` and `high`."""
        z = [(math.log(s) - self.p_mean) / (math.sqrt(2) * self.p_std) for s in (low, high)]
        near, far = z if z[0] > 0 else (-z[1], -z[0])
        if near > 0 and math.erfc(near) - math.erfc(far) < sys.float_info.min:
            law = f"ln sigma of the levels, {math.log(low):.3g} to {math.log(high):.3g}, must be within 37 p_std"
            raise SpecError(f"noise: {law} of p_mean, but got p_mean={self.p_mean}, p_std={self.p_std}")

    def quantile(self, u: torch.Tensor, levels: Any) -> torch.Tensor:
        """exp(p_mean + p_std Phi^-1(.)): ln sigma is normal, truncated at the ends of the ladder."""
        ends = torch.tensor([levels.sigma_min, levels.sigma_max], dtype=torch.float64)
        z = (ends.log() - self.p_mean) / self.p_std
        side = -1 if z[0] > 0 else 1  # in the upper tail the mirrored side is more precise
        first, last = torch.special.ndtr(side * z).tolist()  # numbers, for which no device waits
        place = side * torch.special.ndtri(first + u.double() * (last - first))
        return torch.exp(self.p_mean + self.p_std * place).clamp(levels.sigma_min, levels.sigma_max)


@noise("student_t")
@dataclass(frozen=True)
class StudentT:
    """ln sigma / scale follows Student's t-distribution of df degrees of freedom, cut to sigma >= low.

    p_i is proportional to its probability of the part of [sigma_i, sigma_{i+1}] above low. With the default fields half
    of the levels below 80 are below 1.22 and a tenth is above 10.4.
    Source: TCM (arXiv 2410.14895), which trains the levels above low = 1 and keeps a network for those below.

    Args:
        df: degrees of freedom; the fewer, the heavier the tails.
        scale: width of the peak of ln sigma at sigma = 1.
        low: lowest level.
    """

    df: Annotated[float, Field(ge=1e-3, le=1e3)] = 0.01
    scale: Annotated[float, Field(ge=1e-3, le=20)] = 0.2
    low: Annotated[float, Field(ge=1e-6, lt=1e6)] = 1.0

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        mass = torch.from_numpy(self.mass(sigma.double().clamp(min=self.low).cpu().numpy()))
        return (mass / mass.sum()).to(sigma.device)

    def mass(self, sigma: Any) -> Any:
        """The probability (N-1,) between neighbours of sigma (N,), as float64 arrays."""
        import numpy as np
        from scipy.special import stdtr

        t = np.log(sigma) / self.scale
        below, above = stdtr(self.df, t), stdtr(self.df, -t)  # the smaller of the two has digits in the tails
        return np.where(t[:-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1]).clip(min=0)  # of rounding

    def check(self, low: float, high: float) -> None:
        """Raise a SpecError if it has no probability between the levels `low` and `high`."""
        if high <= self.low:
            law = f"low must be below the highest level, {high:.6g}"
            raise SpecError(f"noise: {law}, but got low={self.low}")
        if self.mass([max(low, self.low), high])[0] < sys.float_info.min:
            law = f"the levels, {max(low, self.low):.3g} to {high:.3g}, must have a probability above 0"
            raise SpecError(f"noise: {law}, but got df={self.df}, scale={self.scale}, low={self.low}")

    def quantile(self, u: torch.Tensor, levels: Any) -> torch.Tensor:
        """exp(scale T^-1(.)), T the distribution function of Student's t cut at low and the ends of the ladder."""
        import numpy as np
        from scipy.special import stdtr, stdtrit

        low, high = max(self.low, levels.sigma_min), levels.sigma_max
        t = np.log([low, high]) / self.scale
        side = -1 if t[0] > 0 else 1  # in the upper tail the mirrored side is more precise
        first, last = stdtr(self.df, side * t)
        place = side * stdtrit(self.df, first + u.double().cpu().numpy() * (last - first))
        drawn: torch.Tensor = torch.from_numpy(np.exp(self.scale * place)).to(u.device)
        return drawn.clamp(low, high)
