"""pairing: (k, K, u in [0, 1) (B,)) -> (sigma_teacher, sigma_student) (B,), noise levels in float64."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.lazy import torch
from ablate.core.registry import Axis, Option, depends_on


class Pairing(Option):
    """A pairing also states whether it uses one level and a derivative instead of two levels."""

    tangent: ClassVar[bool] = False  # True: it has `gap`, and the loss is `loss.tangential`


pairing = Axis(__doc__, default="grid", base=Pairing)

PMean = Annotated[float, Field(ge=-20, le=20)]
PStd = Annotated[float, Field(gt=0, le=20)]
LEAST_GAP = 1e-3  # in units of sigma_min: least distance of t above it, so that float32 images at the two levels differ


@pairing("grid")
@dataclass(frozen=True)
class Grid:
    """Neighbours on the ladder of N(k) levels; the pair is drawn by the inverse CDF of the noise distribution.

    skip_steps: how many levels the student is above the teacher (an option of diffusers' script).
    Source: CM algorithm 3, iCT algorithm 1 (skip_steps = 1).
    """

    skip_steps: Annotated[int, Field(ge=1, le=10_000)] = 1
    levels: Any = depends_on("levels")
    curriculum: Any = depends_on("curriculum")
    noise: Any = depends_on("noise")

    def __call__(self, k: int, K: int, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sigma, cdf = ladder(self.levels, self.noise, self.curriculum(k, K), u.device)
        index = torch.searchsorted(cdf, u.double(), right=True).clamp_(max=len(cdf) - 1)
        return sigma[index], sigma[(index + self.skip_steps).clamp_(max=len(sigma) - 1)]


@pairing("ect")
@dataclass(frozen=True)
class Ect:
    """t = exp(p_mean + p_std Phi^-1(u)), r = t (1 - n(t) / q^(stage + 1)), n(t) = 1 + k sigmoid(-b t): no ladder.

    stage = floor(stages * step / K). sigma_student is t, clamped to at most sigma_max and at least 0.1 % above
    sigma_min; sigma_teacher is r, clamped to at least sigma_min. ECT clamps r at 0, where EDM's coefficients make f
    the identity. Here f is the identity at sigma_min, so an early stage regresses to the (almost clean) image too.
    The axes `curriculum` and `noise` are not used.

    Source: ECT (arXiv 2406.14548) section 4; its CIFAR-10 script has q = 2 and 8 stages, its one-hour script q = 256
    and 1 (the same last pair), its ImageNet-64 code q = 4.

    Args:
        q: factor by which the gap shrinks per stage, above 1.
        k, b: height and slope of n(t), which widens the pairs of small t.
        stages: how often the gap is divided by q during training.
    """

    p_mean: PMean = -1.1
    p_std: PStd = 2.0
    q: Annotated[float, Field(gt=1, le=1e6)] = 2.0
    k: Annotated[float, Field(ge=0, le=1e3)] = 8.0
    b: Annotated[float, Field(ge=0, le=1e3)] = 1.0
    stages: Annotated[int, Field(ge=1, le=40)] = 8
    levels: Any = depends_on("levels")

    def __call__(self, k: int, K: int, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        low, high = self.levels.sigma_min, self.levels.sigma_max
        t = torch.exp(self.p_mean + self.p_std * torch.special.ndtri(u.double()))
        t = t.clamp(low * (1 + LEAST_GAP), high)
        share = (1 + self.k * torch.sigmoid(-self.b * t)) / self.q ** (self.stages * k // K + 1)
        return (t * (1 - share)).clamp(min=low), t


@pairing("continuous")
@dataclass(frozen=True)
class Continuous:
    """sigma_teacher = sigma_student = t: CM's continuous-time training; t follows the noise distribution for large N.

    The teacher's image is f(x_t, t) - gap df/dt, with df/dt = (z . d/dx + d/dt) f by forward-mode differentiation and
    gap = slope(t) / intervals, the distance of neighbours on a ladder of that many intervals. With `squared_l2` the
    gradient is 2 w gap <df/dt, grad f>, CM's theorem 6 for any `intervals` (it only scales the loss, and cancels with
    the weighting `inverse_gap`). With other metrics this holds for large `intervals`. `curriculum` is not used.

    Source: CM appendix B.2 (continuous-time consistency training), iCT section 3.3 (where scale 16 fails).
    """

    intervals: Annotated[int, Field(ge=100, le=10**9)] = 1280
    levels: Any = depends_on("levels")
    noise: Any = depends_on("noise")
    tangent: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for part, method in ((self.noise, "quantile"), (self.levels, "slope")):
            if not hasattr(part, method):
                raise SpecError(f"pairing: continuous needs `{method}`, which {part.axis}.{part.name} lacks")

    def __call__(self, k: int, K: int, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        t = self.noise.quantile(u, self.levels)
        return t, t

    def gap(self, t: torch.Tensor) -> torch.Tensor:
        """The distance (B,) from t (B,) to the level below it, float64."""
        gap: torch.Tensor = self.levels.slope(t) / self.intervals
        return gap


@functools.lru_cache(maxsize=32)  # N changes rarely
def ladder(levels: Any, noise: Any, N: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The levels (N,) and the cumulative probability (N-1,) of their pairs."""
    sigma = levels(N)
    return sigma.to(device), noise(sigma).cumsum(0).to(device)
