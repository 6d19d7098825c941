"""direction: Point -> dx/dsigma (B, C, H, W), the way that the student's noisy images go as sigma changes.

The teacher's image is x_hi + (sigma_teacher - sigma) direction, or the direction is the tangent of its derivative. The
line through x_hi meets sigma = 0 at x_hi - sigma direction, which takes the place of the clean image in a target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.lazy import torch
from ablate.core.registry import Axis, Option
from ablate.ingredients.init_from import InitFrom
from ablate.ingredients.other_cell import NetworkOfRecipe, filling


@dataclass(frozen=True)
class Point:
    """Where the student is, and what a direction can be made of.

    x: clean images (B, C, H, W); z: their noise; x_hi = x + sigma z; sigma: (B,), float64; label: one-hot (B, classes),
    all zeros without a class, or None. images, labels: (n, C, H, W) and (n, classes) or None, those of the whole step,
    of which x is a part, and `more` others. denoiser: (x_hi, sigma, label) -> images, the network of `weights`.
    """

    x: torch.Tensor
    z: torch.Tensor
    x_hi: torch.Tensor
    sigma: torch.Tensor
    label: torch.Tensor | None
    images: torch.Tensor
    labels: torch.Tensor | None
    denoiser: Callable[..., torch.Tensor] | None = None

    def away_from(self, image: torch.Tensor) -> torch.Tensor:
        """(x_hi - image) / sigma, written as z + (x - image) / sigma: exactly z for the clean image."""
        return self.z + (self.x - image) / self.sigma.to(self.x.dtype)[:, None, None, None]


class Direction(Option):
    """A direction may compare with further images, and may need a network with weights of its own."""

    more: int = 0  # further images of the data that a point has besides those of the step
    # over the images that x_hi may be of: needs noise that knows none of them
    averages: ClassVar[bool] = False

    def untrained(self) -> Any:
        """The option with random weights in place of those of a cell, for checks and timings."""
        return self

    def weights(self) -> InitFrom | None:
        """The option of `init_from` that fills a copy of the recipe's network, which then stays as it is."""
        return None


direction = Axis(__doc__, default="noise", base=Direction, default_in_key=False)


@direction("noise")
@dataclass(frozen=True)
class Noise:
    """z: student and teacher see the image with the same noise. Source: CM algorithm 3."""

    def __call__(self, point: Point) -> torch.Tensor:
        return point.z


@direction("reference")
@dataclass(frozen=True)
class Reference:
    """(x_hi - E[x | x_hi]) / sigma, the mean over images x_i with weights softmax(-||x_hi - x_i||^2 / (2 sigma^2)).

    z is one sample of the direction whose mean given x_hi this is, so it has less variance. The images are those of the
    step; with labels, those of the same class, or all for an image without one. With the pairing `denoising` it gives
    the stable targets of arXiv 2302.00670. The weights assume that image and noise are independent, so it needs the
    coupling `independent`. Source: Stable Consistency Tuning (arXiv 2410.18958).

    Args:
        more: further images of the data, those of the next steps, none twice.
    """

    averages: ClassVar[bool] = True
    more: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    def __call__(self, point: Point) -> torch.Tensor:
        images, x_hi = point.images.flatten(1).double(), point.x_hi.flatten(1).double()
        fit = -torch.cdist(x_hi, images).square() / (2 * point.sigma.double()[:, None] ** 2)
        if point.label is not None and point.labels is not None:
            same = (point.label @ point.labels.T > 0) | (point.label.sum(1, keepdim=True) == 0)
            fit = fit.masked_fill(~same, -torch.inf)
        mean = fit.softmax(1) @ images
        return point.away_from(mean.to(point.x.dtype).view_as(point.x))


@direction("network")
@dataclass(frozen=True)
class Network(NetworkOfRecipe):
    """(x_hi - D(x_hi, sigma)) / sigma, D the averaged network of the cell that another recipe, a denoiser, has.

    With the pairing `grid` this is consistency distillation by Euler steps, with `continuous` that of sCM (sCD). `run`
    computes the denoiser first, with this recipe's network, embedding, levels, preconditioning and parameterization. As
    these make D the identity at sigma_min, the direction vanishes there. D has no dropout.
    Source: CM algorithm 2, which takes Heun steps on CIFAR-10; sCM (arXiv 2410.11081) section 3.

    Args:
        recipe: a name or a path.
        share: of the profile's images that the denoiser is trained on; this cell is trained on the rest. The same
            recipe and share as those of `init_from` are one cell, which counts once. Unset: each is trained on all.
    """

    passes: ClassVar[int] = 1

    def suits(self, parts: Mapping[str, Any]) -> None:
        """Raise a SpecError if that recipe does not train a denoiser."""
        if not parts["pairing"].denoises:
            raise SpecError(f"needs a denoiser, such as edm, but trains with pairing {parts['pairing'].name}")

    def filled(self, path: str) -> Filled:
        """With the file of the weights."""
        return Filled(self.recipe, self.share, path)

    def __call__(self, point: Point) -> torch.Tensor:
        if point.denoiser is None:
            raise ValueError("direction.network: needs the denoiser")
        return point.away_from(point.denoiser(point.x_hi, point.sigma, point.label, until=point.sigma))


@dataclass(frozen=True)
class Filled(Network):
    """`network` with the file of its weights; without one they are random."""

    path: str = ""

    def weights(self) -> Any:
        """The file, or random weights."""
        return filling(self.path)
