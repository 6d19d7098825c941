"""The loss of one training step: the student at the higher level, the teacher at the lower one, with the same noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ablate.config.recipe import Recipe
from ablate.core.lazy import torch
from ablate.ingredients.coupling import CouplingStep
from ablate.ingredients.direction import Point
from ablate.training.denoiser import Denoiser, derivative

if TYPE_CHECKING:
    from ablate.training.denoiser import Watch
    from ablate.training.functions import Functions


@dataclass(frozen=True)
class Draws:
    """All random inputs of a step's loss, drawn outside so that the loss is an equation.

    x: clean images (B, C, H, W) in [-1, 1]; z: noise, same shape; u: (B,) in [0, 1); label: (B, classes) or None.
    among: images and labels that a direction compares with, the step's first; None: x and label. v, w: (B,) in [0, 1),
    of the second level and of the target.
    """

    x: torch.Tensor
    z: torch.Tensor
    u: torch.Tensor
    label: torch.Tensor | None = None
    among: tuple[torch.Tensor, torch.Tensor | None] | None = None
    v: torch.Tensor | None = None
    w: torch.Tensor | None = None

    def split(self, n: int) -> list[Draws]:
        """The draws of n equal micro-batches, in order."""
        parts: dict[str, Any] = {k: t.chunk(n) for k, t in vars(self).items() if isinstance(t, torch.Tensor)}
        whole = replace(self, among=self.among or (self.x, self.label))
        return [replace(whole, **{k: part[i] for k, part in parts.items()}) for i in range(n)]


@dataclass(frozen=True)
class Terms:
    """The terms of a step's loss per image (B,): weight and distance, whose product it averages, and the level.

    gradient: norm of d(weight distance) / dF, F the network's output for the image; None before the backward pass.
    log_weight: logarithm of the trained factor of the weight, which the loss subtracts; None without one.
    """

    weight: torch.Tensor
    distance: torch.Tensor
    sigma_student: torch.Tensor
    gradient: torch.Tensor | None = None
    log_weight: torch.Tensor | None = None

    @property
    def loss(self) -> torch.Tensor:
        """The mean over the batch of weight times distance, less the trained log_weight."""
        product = self.weight * self.distance
        return (product if self.log_weight is None else product - self.log_weight).mean()

    def detach(self, gradient: torch.Tensor | None = None) -> Terms:
        """The same values without their graph, with the gradient norms (B,) of the backward pass."""
        values = {name: value.detach() for name, value in vars(self).items() if value is not None}
        return Terms(**{**values, "gradient": gradient})

    @staticmethod
    def joined(terms: Sequence[Terms]) -> Terms:
        """The terms of a batch from those of its micro-batches."""
        if len(terms) == 1:
            return terms[0]
        names = [name for name in vars(terms[0]) if all(getattr(t, name) is not None for t in terms)]
        return Terms(**{name: torch.cat([getattr(t, name) for t in terms]) for name in names})


def noisy(x: torch.Tensor, sigma: torch.Tensor, z: torch.Tensor, dtype: str) -> torch.Tensor:
    """x + sigma z (B, C, H, W), computed in `dtype`, as float32."""
    kind = getattr(torch, dtype)
    return (x.to(kind) + sigma.to(kind)[:, None, None, None] * z.to(kind)).float()


def consistency(
    recipe: Recipe,
    functions: Functions,
    draws: Draws,
    k: int,
    K: int,
    between: Callable[[], Any] = lambda: None,
    watch: Watch | None = None,
) -> Terms:
    """The consistency training loss of iCT algorithm 1 (CM algorithm 3) at step k of K; the pairing states the target.

    Args:
        between: called between the teacher's and the student's pass, to draw new dropout masks if they are not shared.
        watch: called in the student's backward pass with the loss's gradient with respect to F (B, C, H, W).
    """
    sigma_teacher, sigma_student = recipe.pairing(k, K, draws.u)
    until = recipe.pairing.until(sigma_student, draws.u, draws.v)
    among = draws.among or (draws.x, draws.label)
    step = CouplingStep(sigma_teacher, draws.u, draws.label, functions.average)
    x, z = recipe.coupling(draws.x, draws.z, step)
    x_hi = noisy(x, sigma_student, z, recipe.precision.inputs)
    with torch.no_grad():
        line = recipe.direction(Point(x, z, x_hi, sigma_student, draws.label, *among, functions.denoiser))
        end = x if line is z else x + sigma_student.float()[:, None, None, None] * (z - line)
        shown = Shown(recipe, functions.teacher, replace(draws, x=end, z=line), k / K, until)
        target = recipe.pairing.target(shown, sigma_teacher, sigma_student)
    between()
    y = recipe.pairing.estimate(
        lambda end: functions.student(x_hi, sigma_student, draws.label, watch, end), sigma_student, until
    )
    weight = recipe.weighting(*recipe.pairing.weighed(sigma_teacher, sigma_student))
    weight = recipe.pairing.counted(weight, sigma_student).float()
    with torch.no_grad():
        image = target(y.detach())
    log_weight = None if functions.balance is None else functions.balance(sigma_student)
    if log_weight is not None:
        weight = weight * log_weight.exp()
    return Terms(weight, recipe.metric(y, image), sigma_student, log_weight=log_weight)


@dataclass(frozen=True)
class Shown:
    """What a pairing makes its target of, without gradients: see `ablate.ingredients.shown.Shown`."""

    recipe: Recipe
    f: Denoiser  # the teacher
    draws: Draws
    share: float
    until: torch.Tensor | None = None

    @property
    def x(self) -> torch.Tensor:
        """Where the lines of the direction end at sigma = 0 (B, C, H, W)."""
        return self.draws.x

    @property
    def w(self) -> torch.Tensor | None:
        """The numbers (B,) of a target that needs some."""
        return self.draws.w

    def noisy(self, sigma: torch.Tensor) -> torch.Tensor:
        """The images on these lines at sigma (B,)."""
        return noisy(self.x, sigma, self.draws.z, self.recipe.precision.inputs)

    def teacher(self, sigma: torch.Tensor, x: Any = None, until: Any = None) -> torch.Tensor:
        """The teacher's estimate at sigma (B,), of these images or of noisy images x, for a step to `until`."""
        x, until = self.noisy(sigma) if x is None else x, self.until if until is None else until
        return self.f(x, sigma, self.draws.label, until=until)

    def slope(self, sigma: torch.Tensor) -> torch.Tensor:
        """Its derivative by sigma (B,)."""
        return derivative(self.f, self.noisy(sigma), sigma, self.draws.z, self.draws.label, self.until)
