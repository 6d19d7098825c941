"""Pairings whose steps may end at a second noise level, and `denoising`, whose steps end where they begin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.lazy import torch
from ablate.core.registry import depends_on
from ablate.ingredients.levels import LEAST_GAP
from ablate.ingredients.pairing import PMean, PStd, has_method, lognormal, pairing, wide
from ablate.ingredients.shown import Shown, Student, Target

# in units of sigma_min: from this distance above it on, float32 errors of a slope are a thousandth of the noise's
LEAST_SLOPE = 1e-2
Share = Annotated[float, Field(ge=0, le=1)]


@pairing("denoising")
@dataclass(frozen=True)
class Denoising:
    """t = exp(p_mean + p_std Phi^-1(u)), and the target is the clean image: a denoiser, no consistency function.

    sigma_student is t, clamped as in `ect`, and sigma_teacher is sigma_min: it is the pairing `ect` whose r is always
    sigma_min, where f is the identity. With `squared_l2` and the weighting `karras` it is the loss of EDM, from whose
    networks ECT, TCM and sCM start. One step of a denoiser is a blur; FID says how far it is from a consistency
    function. The axes `curriculum`, `noise` and `teacher` are not used. Source: EDM (arXiv 2206.00364) Table 1.
    """

    p_mean: PMean = -1.2
    p_std: PStd = 1.2
    levels: Any = depends_on("levels")
    denoises: ClassVar[bool] = True
    two_levels: ClassVar[bool | None] = None
    passes: ClassVar[int] = 0

    def __call__(self, k: int, K: int, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        t = lognormal(u, self)
        return torch.full_like(t, self.levels.sigma_min), t

    def until(self, sigma_student: torch.Tensor, u: torch.Tensor, v: torch.Tensor | None) -> torch.Tensor:
        """sigma_student: a network with a second level denoises if its step ends where it begins."""
        return sigma_student

    def target(self, shown: Shown, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> Target:
        """The clean images."""
        return lambda y: shown.x


@dataclass(frozen=True)
class Ending:
    """sigma_student follows the noise distribution for large N; a step from it ends at a second level, at most as high.

    With `end_mean` unset the two levels are drawn independently and sorted, as in MeanFlow's paper. Otherwise the end
    is exp(end_mean + end_std Phi^-1(v)), cut to [sigma_min, sigma_student], as in MeanFlow's CIFAR-10 code.
    """

    share: Share | None = 0.25
    end_mean: PMean | None = -4.0
    end_std: PStd = 1.6
    levels: Any = depends_on("levels")
    noise: Any = depends_on("noise")

    def __post_init__(self) -> None:
        has_method(self.name, self.noise, "quantile")  # type: ignore[attr-defined]

    @property
    def two_levels(self) -> bool:
        """Unless `share` is unset."""
        return self.share is not None

    def check(self, K: int) -> None:
        """Raise a SpecError if the distribution has no mass on the levels."""
        self.noise.check(self.levels.sigma_min, self.levels.sigma_max)

    def __call__(self, k: int, K: int, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        larger = u.double().sqrt() if self.two_levels and self.end_mean is None else u  # of two numbers
        low = self.levels.sigma_min
        sigma = self.noise.quantile(larger, self.levels).clamp(min=low * (1 + LEAST_GAP))
        return torch.full_like(sigma, low), sigma

    def until(
        self, sigma_student: torch.Tensor, u: torch.Tensor, v: torch.Tensor | None
    ) -> torch.Tensor | None:
        """sigma_student itself for a share of the images, else the second level."""
        if self.share is None:
            return None
        if v is None:
            raise ValueError("pairing: a second level needs the draws v")
        rest = ((v - self.share) / max(1 - self.share, 1e-9)).clamp(0, 1)
        if self.end_mean is None:
            end = self.noise.quantile(rest * u.double().sqrt(), self.levels)
        else:
            end = torch.exp(self.end_mean + self.end_std * torch.special.ndtri(rest))
        end = torch.minimum(end.clamp(min=self.levels.sigma_min), sigma_student)
        return torch.where(v < self.share, sigma_student, end)


@pairing("mean_flow")
@dataclass(frozen=True)
class MeanFlow(Ending):
    """MeanFlow: f(x, sigma, until) is x - (sigma - sigma_min) u, u the mean slope dx/dsigma between the two levels.

    The slope z at sigma is u + (sigma - until) du/dsigma with until held, so
    r = w (f - x - sigma_min z) + (sigma - until) df/dsigma is to be 0, w = (until - sigma_min) / (sigma - sigma_min).
    The target is f - a r. df/dsigma is the teacher's, by forward-mode differentiation along the direction. The same f
    belongs to mean velocities of any time, as these lead to the same images; only the factor a depends on the time. In
    the time t = sigma / (1 + sigma) of the linear path, MeanFlow's, it is (1 + sigma) / (1 + until). So the target is
    that of denoising for until = sigma, and that of `continuous` with the gap a (sigma - sigma_min) for
    until = sigma_min.

    With the parameterization `flow` F is MeanFlow's u, and `squared_l2` with the weighting `flow` is its
    ||u - u_target||^2. Its adaptive weight (||.||^2 + c)^-p is a metric with a weighting: `pseudo_huber` with 1 / t for
    p = 1/2, `cauchy` with `uniform` for p = 1. sigma_teacher is sigma_min. The axis `curriculum` is not used.

    Source: MeanFlow (arXiv 2505.13447) section 4. Its CIFAR-10 code has share 0.25, p_mean -0.6, p_std 1.6 for the
    noise, end_mean -4 and end_std 1.6; on ImageNet share 0.75 and sorted levels.

    Args:
        share: of the images whose step ends where it begins: they train a denoiser.
        end_mean, end_std: of ln(until); end_mean unset: two levels are drawn from the noise distribution and sorted.
    """

    share: Share = 0.25
    passes = 2  # as `continuous` has
    slopes = True

    def target(self, shown: Shown, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> Target:
        """y - a r."""
        low, t, s = sigma_teacher, sigma_student, ends(shown.until)
        line, slope, a = shown.noisy(low), shown.slope(t), (1 + t) / (1 + s)
        near, far = wide(a * (s - low) / (t - low), line), wide(a * (t - s), line)
        return lambda y: y - near * (y - line) - far * slope


@pairing("shortcut")
@dataclass(frozen=True)
class Shortcut(Ending):
    """A step from sigma to until is to lead where two steps of the teacher lead, which meet halfway.

    Halfway is in the time t = sigma / (1 + sigma) of the linear path. A step that ends where it begins trains a
    denoiser. sigma_teacher is sigma_min. The axis `curriculum` is not used; the axis `teacher` says whose steps these
    are, in the paper those of an average with decay 0.999. Unlike there, levels are continuous, steps of any length.

    Source: shortcut models (arXiv 2410.12557), share 0.875; progressive self-distillation of arXiv 2505.18825, with
    share 0.75: PSD-M, in the middle, and PSD-U, with a uniform split.

    Args:
        share, end_mean, end_std: as in `mean_flow`.
        split: where the two steps meet: in the middle, or anywhere between their ends, with equal probability.
    """

    share: Share = 0.75
    split: Literal["middle", "uniform"] = "middle"
    added_fields = ("split",)
    passes = 2

    @property
    def uses_w(self) -> bool:
        """For a `split` that is not the same for all images."""
        return self.split == "uniform"

    def target(self, shown: Shown, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> Target:
        """What one step has to be for the image that the two steps lead to."""
        low, t, s = sigma_teacher, sigma_student, ends(shown.until)
        share = 0.5 if shown.w is None else shown.w
        middle = between(s, t, share).clamp(min=self.levels.sigma_min * (1 + LEAST_GAP / 2))
        line = shown.noisy(low)
        first = shown.teacher(t, until=middle)
        second = shown.teacher(middle, reached(shown.noisy(t), first, low, middle, t))
        image = torch.lerp(first, second, wide(second_part(low, middle, t, share), line))
        image = torch.where(wide(s, line) == wide(t, line), line, image)
        return lambda y: image


@pairing("lagrangian")
@dataclass(frozen=True)
class Lagrangian(Ending):
    """Where a step ends is to move, as its end is lowered, with the teacher's slope dx/dsigma there.

    A step from x at t = sigma to s = until leads to X = ((s - sigma_min) x + (t - s) f) / (t - sigma_min). That dX/ds
    is the slope v = (X - f(X, s, s)) / (s - sigma_min) means f - c df/ds = f(X, s, s), with
    c = (s - sigma_min) (t - s) / (t - sigma_min). Here f - a (t - s) df/ds is compared with
    (1 - a) f + a (x - (t - sigma_min) v), a = (1 + s) / (1 + t), where f, X and v are the teacher's. So with the
    weighting `flow` and `squared_l2` the loss and its gradient are the paper's, of velocities in the time t / (1 + t)
    of the linear path. v is a quotient, so until is at least 1 % above sigma_min, or sigma.

    df/ds is the student's, by forward-mode differentiation, and the gradient passes through it; the recorded norm of
    the gradient by F is that with dF/ds held. A step that ends where it begins trains a denoiser. sigma_teacher is
    sigma_min. The axis `curriculum` is not used.

    Source: Lagrangian self-distillation, LSD of arXiv 2505.18825; share 0.75, levels sorted (`end_mean` unset), and no
    average as teacher. It trains a weight of both levels; here `learned` trains one of the first.

    Args:
        share, end_mean, end_std: as in `mean_flow`.
    """

    share: Share = 0.75
    passes = 5  # two of the teacher; as many operations as the student's pass, both ways, for the derivative
    derives: ClassVar[bool] = True

    def until(self, sigma_student: torch.Tensor, u: torch.Tensor, v: torch.Tensor | None) -> torch.Tensor:
        """As the others' levels, but no lower than where the slope has digits."""
        end = ends(super().until(sigma_student, u, v)).clamp(min=self.levels.sigma_min * (1 + LEAST_SLOPE))
        return torch.minimum(end, sigma_student)

    def target(self, shown: Shown, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> Target:
        """(1 - a) f + a (x - (t - sigma_min) v)."""
        low, t, s = sigma_teacher, sigma_student, ends(shown.until)
        x, line, f = shown.noisy(t), shown.noisy(low), shown.teacher(t)
        end = reached(x, f, low, s, t)
        way = wide((t - low) / (s - low), x) * (end - shown.teacher(s, end))
        image = torch.lerp(f, x - way, wide((1 + s) / (1 + t), x))
        image = torch.where(wide(s, line) == wide(t, line), line, image)
        return lambda y: image

    def estimate(
        self, student: Student, sigma_student: torch.Tensor, until: torch.Tensor | None
    ) -> torch.Tensor:
        """f - a (t - s) df/ds."""
        from ablate.networks.derivative import along

        t, s = sigma_student, ends(until)
        f, slope = along(student, [s], [torch.ones_like(s)])
        return f - wide((1 + s) / (1 + t) * (t - s), f) * slope


@pairing("alpha_flow")
@dataclass(frozen=True)
class AlphaFlow(Ending):
    """sigma_student follows the noise distribution for large N; t_teacher = (1 - alpha) t_student on the linear path.

    The path's time is t = sigma / (1 + sigma), so sigma_teacher = (1 - alpha) sigma / (1 + alpha sigma), at least
    sigma_min. alpha = 1 - sigmoid(temperature (p - 1/2)), where p runs from 0 at `start` to 1 at `end`; above 1 - clamp
    it is 1, below clamp it is clamp. At alpha = 1 the target is the almost clean image: flow matching, which trains a
    denoiser. alpha-Flow's code ends with alpha = 0, MeanFlow's derivative: the pairing `mean_flow`, or `continuous`
    for steps that end at the image. The axis `curriculum` is not used.

    With `share`, steps end at a second level: the teacher's step starts at t = (1 - alpha) t_student + alpha t_end, and
    the target is alpha (x + sigma_min z) + (1 - alpha) f there, as mean velocities of the linear path. The weighting
    still gets the pair that ends at the image, so `flow` is alpha-Flow's 1 / alpha.

    Source: alpha-Flow (arXiv 2510.20771); its published code has these four values. By default its second time, at
    which a step ends, is always 0.

    Args:
        temperature: how steeply alpha falls in the middle; 0: it is 1/2 throughout.
        clamp: the smallest alpha.
        start, end: shares of the run.
        share: of the images whose step ends where it begins; unset: all end at sigma_min, and networks have one level.
        end_mean, end_std: as in `mean_flow`.
    """

    share: Share | None = None

    temperature: Annotated[float, Field(ge=0, le=1e3)] = 25.0
    clamp: Annotated[float, Field(ge=1e-6, le=0.5)] = 0.005
    start: Annotated[float, Field(ge=0, lt=1)] = 0.0
    end: Annotated[float, Field(gt=0, le=1)] = 1.0
    added_fields = ("share", "end_mean", "end_std")

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise SpecError(f"start < end must hold, but got start={self.start}, end={self.end}")
        super().__post_init__()

    def alpha(self, k: float, K: float = 1) -> float:
        """alpha at step k of K."""
        p = min(1.0, max(0.0, (k / K - self.start) / (self.end - self.start)))
        alpha = (1 - math.tanh(self.temperature * (p - 0.5) / 2)) / 2  # 1 - sigmoid without an overflow
        return 1.0 if alpha > 1 - self.clamp else max(alpha, self.clamp)

    def __call__(self, k: int, K: int, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        low, sigma = super().__call__(k, K, u)
        return torch.maximum(between(torch.zeros_like(sigma), sigma, self.alpha(k, K)), low), sigma

    def target(self, shown: Shown, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> Target:
        """The teacher's image at the lower level or, with a second level, its mixture with x + sigma_min z."""
        if shown.until is None:
            image = shown.teacher(sigma_teacher)
        else:
            alpha, t = self.alpha(shown.share), sigma_student
            low = torch.full_like(t, self.levels.sigma_min)
            middle = between(shown.until, t, alpha).clamp(min=self.levels.sigma_min * (1 + LEAST_GAP / 2))
            line, later = shown.noisy(low), shown.teacher(middle)
            image = torch.lerp(line, later, wide(second_part(low, middle, t, alpha), line))
        return lambda y: image


def ends(until: torch.Tensor | None) -> torch.Tensor:
    """The second levels (B,), which the pairing stated."""
    if until is None:
        raise ValueError("pairing: the target needs a second level")
    return until


def reached(
    x: torch.Tensor, f: torch.Tensor, low: torch.Tensor, s: torch.Tensor, t: torch.Tensor
) -> torch.Tensor:
    """Where a step from x (B, C, H, W) at t (B,) to s (B,) leads if its estimate is f; low (B,) is sigma_min."""
    part = wide((s - low) / (t - low), x)
    return part * x + (1 - part) * f


def between(low: torch.Tensor, high: torch.Tensor, share: float | torch.Tensor) -> torch.Tensor:
    """The level (B,) that is `share` of the way from high down to low (B,), in the time sigma / (1 + sigma)."""
    # without the times, which lose digits near 1
    mean = share * low * (1 + high) + (1 - share) * high * (1 + low)
    return mean / (share * (1 + high) + (1 - share) * (1 + low))


def second_part(
    low: torch.Tensor, middle: torch.Tensor, t: torch.Tensor, share: float | torch.Tensor
) -> torch.Tensor:
    """The part (B,), at most 1, of the second of two steps (`reached`) in the f of the step that replaces both.

    They meet at `middle`, `share` of the way (`between`) from t down.
    """
    part = (1 - share) * (1 + middle) * (t - low) / ((1 + t) * (middle - low))
    return part.clamp(max=1)
