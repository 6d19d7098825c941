"""coupling: x, z (B, C, H, W), step -> x, z, the images and the noise that a pair is made of.

It can permute z over the batch or replace images. Where a batch is computed in parts, it is called on the whole batch
with the step None first, then on each part with the part's `CouplingStep`. One whose noise says nothing of the image
says so with `independent: ClassVar[bool] = True`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from ablate.core.lazy import torch
from ablate.core.registry import Axis
from ablate.ingredients.pairing import wide

coupling = Axis(__doc__, default="independent")

Coupled = tuple["torch.Tensor", "torch.Tensor"]
DIGITS = 2.0**26  # of the 53 binary digits of u, those that its level practically depends on


@dataclass(frozen=True)
class CouplingStep:
    """What a coupling knows besides images and noise.

    sigma: the teacher's level (B,), float64. u: (B,) in [0, 1), float64, of which the levels are a function. label:
    one-hot (B, classes) or None. average: (x, sigma, label) -> images, the averaged network as it samples: without
    dropout, and without gradients.
    """

    sigma: torch.Tensor
    u: torch.Tensor
    label: torch.Tensor | None = None
    average: Callable[..., torch.Tensor] | None = None


@coupling("independent")
@dataclass(frozen=True)
class Independent:
    """The noise as drawn. Source: CM algorithm 3."""

    independent: ClassVar[bool] = True

    def __call__(self, x: torch.Tensor, z: torch.Tensor, step: CouplingStep | None = None) -> Coupled:
        return x, z


@coupling("minibatch_ot")
@dataclass(frozen=True)
class MinibatchOt:
    """The permutation of z that minimizes the sum of ||x - z||^2 over the batch (Hungarian method, cubic in B).

    Each part of an optimally coupled batch is optimally coupled, so a second call changes nothing.
    Source: minibatch optimal transport, arXiv 2302.00482; for consistency models, arXiv 2406.09570.
    """

    def __call__(self, x: torch.Tensor, z: torch.Tensor, step: CouplingStep | None = None) -> Coupled:
        from scipy.optimize import linear_sum_assignment

        cost = torch.cdist(x.flatten(1).double(), z.flatten(1).double()).square()
        _, order = linear_sum_assignment(cost.cpu().numpy())
        return x, z[torch.as_tensor(order, device=z.device)]


@coupling("generator")
@dataclass(frozen=True)
class Generator:
    """x' = f_average(x + sigma_teacher z, sigma_teacher) in place of x, for a share of the images; both levels see x'.

    A coin for each image decides, as in the published code: the last binary digits of u, which its level does not
    depend on. The average has no dropout, whatever the recipe's. In the published code it has the network's dropout
    until FID is first measured, and none afterwards. It costs one more pass of the whole batch, without gradient. With
    a pairing whose teacher is at sigma_min, such as `denoising`, x' is x to within sigma_min z.
    Source: generator-augmented flows (arXiv 2406.09570), half of the images on CIFAR-10.

    Args:
        share: of the images that are replaced.
    """

    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    passes: ClassVar[int] = 1

    def __call__(self, x: torch.Tensor, z: torch.Tensor, step: CouplingStep | None = None) -> Coupled:
        if step is None:
            return x, z  # the call for its part replaces an image
        if step.average is None:
            raise ValueError("coupling.generator: needs the averaged network")
        chosen = torch.frac(step.u * DIGITS) < self.share
        image = step.average(x + wide(step.sigma, x) * z, step.sigma, step.label)
        return torch.where(chosen[:, None, None, None], image, x), z
