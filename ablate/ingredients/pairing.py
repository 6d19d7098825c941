"""pairing: (k, K, u in [0, 1) (B,)) -> (lo, hi) (B,), the noise levels of teacher and student, float64."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from ablate.lazy import torch
from ablate.registry import Axis, injected

pairing = Axis(__doc__, default="grid")


@pairing("grid")
@dataclass(frozen=True)
class Grid:
    """Neighbours of the ladder of N(k) levels, the pair drawn by the inverse CDF of the noise distribution.

    skip_steps > 1 lets the student stand that many levels above the teacher (a knob of diffusers' script).
    Source: CM algorithm 3, iCT algorithm 1 (skip_steps = 1).
    """

    skip_steps: Annotated[int, Field(ge=1, le=10_000)] = 1
    levels: Any = injected("levels")
    curriculum: Any = injected("curriculum")
    noise: Any = injected("noise")

    def __call__(self, k: int, K: int, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sigma, cdf = ladder(self.levels, self.noise, self.curriculum(k, K), u.device)
        index = torch.searchsorted(cdf, u.double(), right=True).clamp_(max=len(cdf) - 1)
        return sigma[index], sigma[(index + self.skip_steps).clamp_(max=len(sigma) - 1)]


@functools.lru_cache(maxsize=32)  # N changes rarely
def ladder(levels: Any, noise: Any, N: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The levels (N,) and the cumulative probability (N-1,) of their pairs."""
    sigma = levels(N)
    return sigma.to(device), noise(sigma).cumsum(0).to(device)
