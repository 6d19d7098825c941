"""metric: x, y (B, C, H, W) -> (B,), the distance between two images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from ablate.core.lazy import torch
from ablate.core.registry import Axis, Option
from ablate.ingredients import lpips


class Metric(Option):
    """Besides the distance, a metric declares whether it depends on the norm of the whole difference image."""

    whole_image_norm: ClassVar[bool] = True  # it depends on ||x - y|| only; check 10 of `doctor` tests this


metric = Axis(__doc__, default="pseudo_huber", base=Metric)

C = Annotated[
    float, Field(ge=1e-6, le=1e4, json_schema_extra={"search": {"low": 1e-3, "high": 1.0, "log": True}})
]


def squared_norm(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """||x - y||^2 over all but the first axis, (B,)."""
    return (x - y).square().flatten(1).sum(1)


def huber_c(shape: Sequence[int]) -> float:
    """c = 0.00054 sqrt(d) for images of d values (0.0299 for 3x32x32). Source: iCT section 3.3."""
    return 0.00054 * math.sqrt(math.prod(shape))


@dataclass(frozen=True)
class OfScale:
    """A metric that changes its shape at the distance c."""

    c: C | None = None

    def for_images(self, shape: Sequence[int]) -> Self:
        """The metric with c resolved for images of `shape` (C, H, W)."""
        return self if self.c is not None else replace(self, c=huber_c(shape))

    def scale(self, x: torch.Tensor) -> float:
        """c, for images x (B, C, H, W)."""
        return self.c if self.c is not None else huber_c(x.shape[1:])


@metric("squared_l2")
@dataclass(frozen=True)
class SquaredL2:
    """||x - y||^2. Source: CM section 5."""

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return squared_norm(x, y)


@metric("l2")
@dataclass(frozen=True)
class L2:
    """||x - y||: the Pseudo-Huber metric at c = 0. Source: ECT (loss `norm`)."""

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        # The root has no gradient at 0; adding the smallest normal float changes no other value.
        return (squared_norm(x, y) + torch.finfo(x.dtype).tiny).sqrt()


@metric("l1")
@dataclass(frozen=True)
class L1:
    """Sum of |x - y|. Source: CM section 5."""

    whole_image_norm: ClassVar[bool] = False

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x - y).abs().flatten(1).sum(1)


@metric("pseudo_huber")
@dataclass(frozen=True)
class PseudoHuber(OfScale):
    """sqrt(||x - y||^2 + c^2) - c of the whole image; an unset c is 0.00054 sqrt(d). Source: iCT eq. 8.

    c = 0.00054 d, without the root, is defect D22.
    """

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        c = self.scale(x)
        return (squared_norm(x, y) + c**2).sqrt() - c


@metric("pseudo_huber_per_element")
@dataclass(frozen=True)
class PseudoHuberPerElement(PseudoHuber):
    """Sum over elements of sqrt((x - y)^2 + c^2) - c, with the c of the whole image.

    Defect D13: at a typical error every element is in the quadratic range, so the metric is not robust.
    """

    replays: ClassVar[tuple[str, ...]] = ("D13",)

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        c = self.scale(x)
        return (((x - y).square() + c**2).sqrt() - c).flatten(1).sum(1)


@metric("cauchy")
@dataclass(frozen=True)
class Cauchy(OfScale):
    """c^2/2 log(1 + ||x - y||^2 / c^2), whose gradient vanishes for outliers; an unset c is 0.00054 sqrt(d).

    Source: the Cauchy (Lorentzian) loss for latent consistency training, arXiv 2502.01441.
    """

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        c = self.scale(x)
        return c**2 / 2 * torch.log1p(squared_norm(x, y) / c**2)


@metric("adaptive")
@dataclass(frozen=True)
class Adaptive(OfScale):
    """((n^2 + c^2)^(1-p) - c^(2-2p)) / (1 - p), n = ||x - y||; an unset c is 0.00054 sqrt(d).

    Its gradient is that of n^2 divided by (n^2 + c^2)^p: MeanFlow's adaptive weight. p = 0 is `squared_l2`, 1/2 twice
    `pseudo_huber`, and 1 the logarithm of `cauchy`, without its factor c^2/2. n is an error of images. For the powers
    of an error of velocities, as MeanFlow has them, add the weighting `flow` with the same p.

    Source: MeanFlow (arXiv 2505.13447) section 4.3; its CIFAR-10 code has p = 0.75 and c^2 = 0.001.
    """

    p: Annotated[float, Field(ge=0, le=2, json_schema_extra={"search": {"low": 0.0, "high": 1.5}})] = 1.0

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        c, q = self.scale(x), 1 - self.p
        square = squared_norm(x, y)
        return torch.log1p(square / c**2) if q == 0 else ((square + c**2) ** q - c ** (2 * q)) / q


@metric("lpips")
@dataclass(frozen=True)
class Lpips:
    """Sum over five stages of VGG16 of the mean over pixels of w . (a - b)^2, a and b the normalized activations.

    Images are in [-1, 1]. Gray ones are repeated to three channels; those below 256 pixels are resized to `size`
    pixels bilinearly. Source: LPIPS (arXiv 1801.03924); CM trains with it at 224 pixels, with average pooling. Its
    weights were trained on ImageNet, as FID's Inception was, which biases FID in its favour (iCT section 3.3).

    Needs two files of weights (528 MB and 7 kB); if one is missing, the error names it and its folder.
    """

    size: Annotated[int, Field(ge=32, le=1024)] = 224
    pooling: Literal["average", "max"] = "average"
    whole_image_norm: ClassVar[bool] = False
    reads_files: ClassVar[bool] = True

    def require(self) -> None:
        """Raise a SpecError if the weights are missing and cannot be downloaded."""
        lpips.require()

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        distance: torch.Tensor = lpips.lpips(x.device, self.pooling)(self.fitted(x), self.fitted(y))
        return distance.to(x.dtype)

    def fitted(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, 1 or 3, H, W) as the network takes it: (B, 3, size, size), or (B, 3, H, W) if W >= 256; float32."""
        wide = x.float().expand(-1, 3, -1, -1)
        if x.shape[-1] >= 256:
            return wide
        resized: torch.Tensor = torch.nn.functional.interpolate(
            wide, (self.size, self.size), mode="bilinear", antialias=False
        )
        return resized
