"""pairing: (k, K, u in [0, 1) (B,)) -> (sigma_teacher, sigma_student) (B,), noise levels in float64.

It chooses the two noise levels at which student and teacher see an image.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.lazy import torch
from ablate.core.registry import Axis, Option, depends_on
from ablate.ingredients.levels import LEAST_GAP


class Pairing(Option):
    """Besides the levels, a pairing declares whether the loss uses one level and a derivative instead of two."""

    tangent: ClassVar[bool] = False  # True: it has `gap`, and the loss is `loss.tangential`

    def check(self, K: int) -> None:
        """Raise a SpecError if a run of K steps has no levels to draw; without torch, for planning."""


pairing = Axis(__doc__, default="grid", base=Pairing)

PMean = Annotated[float, Field(ge=-20, le=20)]
PStd = Annotated[float, Field(ge=1e-3, le=20)]
ROUNDING = 1e-6  # of a sum of probabilities; float32 has less
MOST_SHRINKING = 2.0**23  # float32 images at two levels a smaller share of t apart are equal


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

    def check(self, K: int) -> None:
        """Raise a SpecError if the ladder of the first or the last step of K has no pairs to draw."""
        for k in (0, K - 1):
            if (N := self.curriculum(k, K)) < 2:
                raise SpecError(f"curriculum: N >= 2 must hold, but got N={N} at step {k} of {K}")
            if ends := self.levels.ends(N):
                self.noise.check(*ends)


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
        q: factor by which the gap shrinks per stage, above 1; q^stages is at most 2^23.
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

    def __post_init__(self) -> None:
        if self.q**self.stages > MOST_SHRINKING:
            law = "q^stages <= 2^23 must hold, or float32 images of a pair are equal"
            raise SpecError(f"{law}, but got q={self.q}, stages={self.stages}")

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

    def check(self, K: int) -> None:
        """Raise a SpecError if the distribution has no mass on the levels."""
        self.noise.check(self.levels.sigma_min, self.levels.sigma_max)

    def gap(self, t: torch.Tensor) -> torch.Tensor:
        """The distance (B,) from t (B,) to the level below it, float64."""
        gap: torch.Tensor = self.levels.slope(t) / self.intervals
        return gap


@functools.lru_cache(maxsize=32)  # N changes rarely
def ladder(levels: Any, noise: Any, N: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The levels (N,) and the cumulative probability (N-1,) of their pairs.

    Raises:
        SpecError: the levels do not ascend from above 0, or the probabilities are no distribution over their pairs.
    """
    sigma = levels(N)
    if not (sigma[0] > 0 and (sigma.diff() > 0).all() and sigma[-1].isfinite()):
        raise SpecError(f"levels: {levels.name}: the {N} levels must be finite and ascend from above 0")
    p = noise(sigma)
    if not (p >= 0).all() or abs(float(p.sum()) - 1) > ROUNDING:
        raise SpecError(f"noise: {noise.name}: the probabilities of the {N - 1} pairs must add up to 1")
    return sigma.to(device), p.cumsum(0).to(device)
