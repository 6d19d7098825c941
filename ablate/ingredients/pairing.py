"""pairing: (k, K, u in [0, 1) (B,)) -> (sigma_teacher, sigma_student) (B,), noise levels in float64.

It chooses the noise levels at which student and teacher see an image, and what the student's image is compared with.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.hardware import sent
from ablate.core.lazy import torch
from ablate.core.registry import Axis, Option, depends_on
from ablate.ingredients.levels import LEAST_GAP
from ablate.ingredients.shown import Shown, Student, Target


class Pairing(Option):
    """Besides the levels, a pairing states what the student's image is compared with, by default the teacher's."""

    denoises: bool = False  # a network trained with it estimates the clean images
    passes = 1  # the teacher's
    two_levels: bool | None = False  # `until` states levels; None: whatever the network takes
    uses_w: bool = False  # the target needs numbers of its own
    slopes: bool = False  # the target needs the teacher's derivative
    derives: bool = False  # the gradient passes through a derivative of the student

    def until(
        self, sigma_student: torch.Tensor, u: torch.Tensor, v: torch.Tensor | None
    ) -> torch.Tensor | None:
        """The levels (B,) at which steps from sigma_student (B,) end, for networks with a second level.

        Args:
            u, v: two independent numbers in [0, 1) per image, each (B,); sigma_student was drawn with u.
        """
        return None

    def check(self, K: int) -> None:
        """Raise a SpecError if a run of K steps has no levels to draw; without torch, for planning."""

    def target(self, shown: Shown, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> Target:
        """What the student's image at sigma_student (B,) is compared with; called before the student's pass."""
        image = shown.teacher(sigma_teacher)
        return lambda y: image

    def estimate(
        self, student: Student, sigma_student: torch.Tensor, until: torch.Tensor | None
    ) -> torch.Tensor:
        """What is compared with the target (B, C, H, W), by default the student's image."""
        return student(until)

    def weighed(
        self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The two levels (B,) that the weighting gets."""
        return sigma_teacher, sigma_student

    def counted(self, weight: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        """The weight (B,) of the weighting, times how much each image counts."""
        return weight


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
    The axis `curriculum` is not used, nor is `noise` unless `t_from` says so.

    With `boundary_share`, u below it puts t at the `level` of the teacher, and the rest of [0, 1) is spread over the
    distribution. If `boundary` is set, an image at that level counts boundary / boundary_share, any other
    1 / (1 - boundary_share): the expected loss is the mean over the others plus `boundary` times the mean over those.
    TCM puts exactly that share of each batch there; here each image is drawn alone, so that the loss does not depend on
    how a batch is split.

    Source: ECT (arXiv 2406.14548) section 4; its CIFAR-10 script has q = 2 and 8 stages, its one-hour script q = 256
    and 1 (the same last pair), its ImageNet-64 code q = 4. Cap and boundary are those of TCM (arXiv 2410.14895).

    Args:
        q: factor by which the gap shrinks per stage, above 1; q^stages is at most 2^23.
        k, b: height and slope of n(t), which widens the pairs of small t.
        stages: how often the gap is divided by q during training.
        cap: largest 1 - 1 / q^(stage + 1), which is r / t for large t; unset: none. TCM has 0.999 on CIFAR-10 and
            0.9961 on ImageNet-64.
        t_from: `own`: the distribution above; `noise`: that of the axis `noise` for large N.
        boundary_share: probability that t is the teacher's level; TCM has 0.25.
        boundary: weight of the mean at that level; TCM has 0.1. Unset: all images count the same.
    """

    p_mean: PMean = -1.1
    p_std: PStd = 2.0
    q: Annotated[float, Field(gt=1, le=1e6)] = 2.0
    k: Annotated[float, Field(ge=0, le=1e3)] = 8.0
    b: Annotated[float, Field(ge=0, le=1e3)] = 1.0
    stages: Annotated[int, Field(ge=1, le=40)] = 8
    cap: Annotated[float, Field(gt=0, lt=1)] | None = None
    t_from: Literal["own", "noise"] = "own"
    boundary_share: Annotated[float, Field(ge=0, le=0.99)] = 0.0
    boundary: Annotated[float, Field(ge=0, le=1e3)] | None = None
    levels: Any = depends_on("levels")
    noise: Any = depends_on("noise")
    teacher: Any = depends_on("teacher")
    added_fields = ("cap", "t_from", "boundary_share", "boundary")

    def __post_init__(self) -> None:
        if self.q**self.stages > MOST_SHRINKING:
            law = "q^stages <= 2^23 must hold, or float32 images of a pair are equal"
            raise SpecError(f"{law}, but got q={self.q}, stages={self.stages}")
        if self.t_from == "noise":
            has_method("ect", self.noise, "quantile")

    def check(self, K: int) -> None:
        """Raise a SpecError if there is no boundary, or if the distribution has no mass on the levels."""
        if self.boundary_share and not self.teacher.level:
            law = f"needs a teacher with a level, such as frozen_below, but got teacher={self.teacher.name}: "
            law += "change pairing and teacher together, or set boundary_share to 0"
            raise SpecError(f"pairing.boundary_share: {self.boundary_share}: {law}")
        if self.t_from == "noise":
            self.noise.check(self.levels.sigma_min, self.levels.sigma_max)

    def __call__(self, k: int, K: int, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        b = self.boundary_share
        t = self.drawn(((u - b) / (1 - b)).clamp(min=0) if b else u)
        t = torch.where(u < b, self.teacher.level, t) if b else t
        gap = self.q ** -(self.stages * k // K + 1)
        gap = gap if self.cap is None else max(gap, 1 - self.cap)
        share = (1 + self.k * torch.sigmoid(-self.b * t)) * gap
        return (t * (1 - share)).clamp(min=self.levels.sigma_min), t

    def drawn(self, u: torch.Tensor) -> torch.Tensor:
        """t (B,) at the quantiles u (B,) of the distribution, from 0.1 % above sigma_min to sigma_max."""
        if self.t_from == "own":
            return lognormal(u, self)
        t: torch.Tensor = self.noise.quantile(u, self.levels)
        return t.clamp(min=self.levels.sigma_min * (1 + LEAST_GAP))

    def counted(self, weight: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        """The weight (B,), with the factors of `boundary`."""
        if not self.boundary_share or self.boundary is None:
            return weight
        here, elsewhere = self.boundary / self.boundary_share, 1 / (1 - self.boundary_share)
        return weight * torch.where(sigma_student == self.teacher.level, here, elsewhere)


@pairing("continuous")
@dataclass(frozen=True)
class Continuous:
    """sigma_teacher = sigma_student = t: CM's continuous-time training; t follows the noise distribution for large N.

    The teacher's image is f(x_t, t) - gap df/dt, with df/dt = (z . d/dx + d/dt) f by forward-mode differentiation and
    gap = slope(t) / intervals, the distance of neighbours on a ladder of that many intervals. With `squared_l2` the
    gradient is 2 w gap <df/dt, grad f>, CM's theorem 6 for any `intervals` (it only scales the loss, and cancels with
    the weighting `inverse_gap`). With other metrics this holds for large `intervals`. `curriculum` is not used.

    sCM bounds the tangent g = sqrt(t^2 + sigma_data^2) df/dt: the teacher's image is then f - |c_out| h, with
    h = g / (||g|| + c) (`normalize`) or g cut to [-1, 1] (`clip`). With `squared_l2` and the weighting `karras`, which
    is 1 / c_out^2, the loss is sCM's ||F - F_teacher + h||^2. `tangent: none` with the metric `l2` and the weighting
    `inverse_c_out` has the same gradient as `normalize` with c = 0, up to a factor. `rms` is `normalize` with the root
    mean square in place of the norm: defect D26 (NVlabs/FastGen), by which h is sqrt(d) times longer for d values.

    Source: CM appendix B.2 (continuous-time consistency training), iCT section 3.3 (where scale 16 fails), sCM (arXiv
    2410.11081) section 4 and algorithm 1: c = 0.1, warmup 10,000 of 400,000 steps.

    Args:
        intervals: number of intervals of the ladder whose gaps `tangent: none` takes. With another tangent, only a
            weighting by both levels, such as `inverse_gap`, uses it.
        tangent: what bounds the tangent.
        c: added to the norm by `normalize`.
        warmup: share of the run over which df/dt replaces its diffusion part c_skip / t (f - x), which trains a
            denoiser, linearly; 0: none.
    """

    intervals: Annotated[int, Field(ge=100, le=10**9)] = 1280
    tangent: Literal["none", "normalize", "clip", "rms"] = "none"
    c: Annotated[float, Field(ge=0, le=1e3)] = 0.1
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.0
    levels: Any = depends_on("levels")
    noise: Any = depends_on("noise")
    parameterization: Any = depends_on("parameterization")
    added_fields = ("tangent", "c", "warmup")
    passes = 2  # the teacher's, and as many operations again for its derivative
    slopes = True

    @property
    def replays(self) -> tuple[str, ...]:
        """The defect that is switched on."""
        return ("D26",) if self.tangent == "rms" else ()

    def __post_init__(self) -> None:
        has_method("continuous", self.noise, "quantile")
        has_method("continuous", self.levels, "slope")

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

    def weighed(
        self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The level below t, and t."""
        return sigma_student - self.gap(sigma_student), sigma_student

    def target(self, shown: Shown, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> Target:
        """y - gap df/dt or, with a bounded tangent, y - |c_out| h."""
        t, slope = sigma_student, shown.slope(sigma_student)
        c_skip, c_out = (wide(value, slope) for value in self.parameterization(t))
        r = min(1.0, shown.share / self.warmup) if self.warmup else 1.0

        def target(y: torch.Tensor) -> torch.Tensor:
            change = slope if r == 1 else r * slope + (1 - r) * c_skip / wide(t, y) * (y - shown.x)
            if self.tangent == "none":
                return y - wide(self.gap(t), y) * change
            g = wide((t**2 + self.parameterization.sigma_data**2).sqrt(), y) * change
            norm = wide(g.flatten(1).norm(dim=1), y)
            if self.tangent == "rms":
                norm = norm / math.sqrt(y[0].numel())
            return y - c_out.abs() * (g.clamp(-1, 1) if self.tangent == "clip" else g / (norm + self.c))

        return target


def has_method(pairing: str, part: Any, method: str) -> None:
    """Raise a SpecError if an ingredient lacks a method that a pairing calls."""
    if not hasattr(part, method):
        raise SpecError(f"pairing: {pairing} needs `{method}`, which {part.axis}.{part.name} lacks")


def wide(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """values (B,) as (B, 1, 1, 1), in the dtype of `like`."""
    return values.to(like.dtype)[:, None, None, None]


def lognormal(u: torch.Tensor, drawn: Any) -> torch.Tensor:
    """exp(p_mean + p_std Phi^-1(u)) (B,), from 0.1 % above sigma_min to sigma_max."""
    t = torch.exp(drawn.p_mean + drawn.p_std * torch.special.ndtri(u.double()))
    return t.clamp(drawn.levels.sigma_min * (1 + LEAST_GAP), drawn.levels.sigma_max)


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
    return sent(sigma, device), sent(p.cumsum(0), device)
