"""The loss of one training step: the student at the higher level, the teacher at the lower one, with the same noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablate.config.recipe import Recipe
from ablate.core.lazy import torch
from ablate.training.denoiser import Denoiser

if TYPE_CHECKING:
    from ablate.training.denoiser import Watch


@dataclass(frozen=True)
class Draws:
    """All random inputs of a step's loss, drawn outside so that the loss is an equation.

    x: clean images (B, C, H, W) in [-1, 1]; z: noise, same shape; u: (B,) in [0, 1); label: (B, classes) or None.
    """

    x: torch.Tensor
    z: torch.Tensor
    u: torch.Tensor
    label: torch.Tensor | None = None

    def split(self, n: int) -> list[Draws]:
        """The draws of n equal micro-batches, in order."""
        labels = [None] * n if self.label is None else [*self.label.chunk(n)]
        rest = (t.chunk(n) for t in (self.x, self.z, self.u))
        return [Draws(*draws) for draws in zip(*rest, labels, strict=True)]


@dataclass(frozen=True)
class Terms:
    """The terms of a step's loss per image (B,): weight and distance, whose product it averages, and the two levels.

    gradient: norm of d(weight distance) / dF, F the network's output for the image; None before the backward pass.
    """

    weight: torch.Tensor
    distance: torch.Tensor
    sigma_teacher: torch.Tensor
    sigma_student: torch.Tensor
    gradient: torch.Tensor | None = None

    @property
    def loss(self) -> torch.Tensor:
        """The mean over the batch of weight times distance."""
        return (self.weight * self.distance).mean()

    def detach(self, gradient: torch.Tensor | None = None) -> Terms:
        """The same values without their graph, with the gradient norms (B,) of the backward pass."""
        return Terms(self.weight, self.distance.detach(), self.sigma_teacher, self.sigma_student, gradient)

    @staticmethod
    def joined(terms: Sequence[Terms]) -> Terms:
        """The terms of a batch from those of its micro-batches."""
        names = ["weight", "distance", "sigma_teacher", "sigma_student"]
        names += ["gradient"] if all(t.gradient is not None for t in terms) else []
        return Terms(*(torch.cat([getattr(t, name) for t in terms]) for name in names))


def noisy(x: torch.Tensor, sigma: torch.Tensor, z: torch.Tensor, dtype: str) -> torch.Tensor:
    """x + sigma z (B, C, H, W), computed in `dtype`, as float32."""
    kind = getattr(torch, dtype)
    return (x.to(kind) + sigma.to(kind)[:, None, None, None] * z.to(kind)).float()


def consistency(
    recipe: Recipe,
    student: Denoiser,
    teacher: Denoiser,
    draws: Draws,
    k: int,
    K: int,
    between: Callable[[], Any] = lambda: None,
    watch: Watch | None = None,
) -> Terms:
    """The consistency training loss of iCT algorithm 1 (CM algorithm 3) at step k of K.

    Args:
        between: called between the teacher's and the student's pass, to draw new dropout masks if they are not shared.
        watch: called in the student's backward pass with the loss's gradient with respect to F (B, C, H, W).
    """
    if getattr(recipe.pairing, "tangent", False):
        return tangential(recipe, student, teacher, draws, k, K, between, watch)
    sigma_teacher, sigma_student = recipe.pairing(k, K, draws.u)
    z = recipe.coupling(draws.x, draws.z)
    inputs = recipe.precision.inputs
    with torch.no_grad():
        target = teacher(noisy(draws.x, sigma_teacher, z, inputs), sigma_teacher, draws.label)
    between()
    y = student(noisy(draws.x, sigma_student, z, inputs), sigma_student, draws.label, watch)
    weight = recipe.weighting(sigma_teacher, sigma_student).float()
    return Terms(weight, recipe.metric(y, target), sigma_teacher, sigma_student)


def tangential(
    recipe: Recipe,
    student: Denoiser,
    teacher: Denoiser,
    draws: Draws,
    k: int,
    K: int,
    between: Callable[[], Any] = lambda: None,
    watch: Watch | None = None,
) -> Terms:
    """The loss with one level and a derivative: the teacher's image is y - gap df/dt. Source: CM theorem 6.

    For the squared distance its gradient is E[2 w(t - gap, t) gap <df/dt, grad y>], and its value is that of a ladder
    with this gap to first order, w gap^2 ||df/dt||^2. Both sigmas of the Terms are t.
    """
    t, _ = recipe.pairing(k, K, draws.u)
    z = recipe.coupling(draws.x, draws.z)
    gap = recipe.pairing.gap(t)
    x = noisy(draws.x, t, z, recipe.precision.inputs)
    slope = derivative(teacher, x, t, z, draws.label)
    between()
    y = student(x, t, draws.label, watch)
    target = y.detach() - gap.to(y.dtype)[:, None, None, None] * slope
    return Terms(recipe.weighting(t - gap, t).float(), recipe.metric(y, target), t, t)


def derivative(
    f: Denoiser, x: torch.Tensor, t: torch.Tensor, z: torch.Tensor, label: torch.Tensor | None = None
) -> torch.Tensor:
    """d f(x + s z, t + s) / ds at s = 0 (B, C, H, W), by forward-mode differentiation in one pass."""
    from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
    from torch.nn.attention import SDPBackend, sdpa_kernel

    # the fused attention kernels do not support forward-mode differentiation
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), dual_level():
        level = make_dual(t, torch.ones_like(t))  # type: ignore[no-untyped-call]
        dual = f(make_dual(x, z), level, label)  # type: ignore[no-untyped-call]
        tangent: torch.Tensor = unpack_dual(dual).tangent  # type: ignore[no-untyped-call]
    return tangent
