"""metric: x, y (B, C, H, W) -> (B,), the distance of two whole images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ablate.core.lazy import torch
from ablate.core.registry import Axis, Option
from ablate.ingredients import lpips


class Metric(Option):
    """A metric also says what it depends on."""

    whole_image_norm: ClassVar[bool] = True  # a function of ||x - y|| alone, which check 10 of `doctor` tests


metric = Axis(__doc__, default="pseudo_huber", base=Metric)

C = Annotated[
    float, Field(gt=0, le=1e4, json_schema_extra={"search": {"low": 1e-3, "high": 1.0, "log": True}})
]


def squared_norm(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """||x - y||^2 over all but the first axis, (B,)."""
    return (x - y).square().flatten(1).sum(1)


def huber_c(shape: Sequence[int]) -> float:
    """c = 0.00054 sqrt(d) for images of d values (0.0299 for 3x32x32). Source: iCT section 3.3."""
    return 0.00054 * math.sqrt(math.prod(shape))


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
        # The root has no slope at 0; the smallest normal float leaves every other value as it is.
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
class PseudoHuber:
    """sqrt(||x - y||^2 + c^2) - c of the whole image; c unset means 0.00054 sqrt(d). Source: iCT eq. 8.

    c = 0.00054 d instead of its root is defect D22.
    """

    c: C | None = None

    def for_images(self, shape: Sequence[int]) -> PseudoHuber:
        """The same with c resolved for images of `shape` (C, H, W)."""
        return self if self.c is not None else replace(self, c=huber_c(shape))

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        c = self.c if self.c is not None else huber_c(x.shape[1:])
        return (squared_norm(x, y) + c**2).sqrt() - c


@metric("pseudo_huber_per_element")
@dataclass(frozen=True)
class PseudoHuberPerElement(PseudoHuber):
    """Sum over elements of sqrt((x - y)^2 + c^2) - c, with the c that is meant for the whole image.

    Defect D13: at a typical error every element stands in the quadratic zone, so that nothing is robust.
    """

    replays: ClassVar[tuple[str, ...]] = ("D13",)

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        c = self.c if self.c is not None else huber_c(x.shape[1:])
        return (((x - y).square() + c**2).sqrt() - c).flatten(1).sum(1)


@metric("cauchy")
@dataclass(frozen=True)
class Cauchy:
    """c^2/2 log(1 + ||x - y||^2 / c^2), whose slope vanishes for outliers; c unset means 0.00054 sqrt(d).

    Source: the Cauchy (Lorentzian) loss for latent consistency training, arXiv 2502.01441.
    """

    c: C | None = None

    def for_images(self, shape: Sequence[int]) -> Cauchy:
        """The same with c resolved for images of `shape` (C, H, W)."""
        return self if self.c is not None else replace(self, c=huber_c(shape))

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        c = self.c if self.c is not None else huber_c(x.shape[1:])
        return c**2 / 2 * torch.log1p(squared_norm(x, y) / c**2)


@metric("lpips")
@dataclass(frozen=True)
class Lpips:
    """Sum over five stages of VGG16 of the mean over pixels of w . (a - b)^2, a and b the normalized activations.

    Images are taken as [-1, 1], gray ones in three equal channels, and brought to `size` pixels bilinearly. Source:
    LPIPS (arXiv 1801.03924); CM trains with it, images below 256 pixels at 224, pooling by averages. Its weights saw
    ImageNet, as those of FID's Inception did: the FID of a model trained on it is flattered (iCT section 3.3).

    Needs two files of weights (528 MB and 7 kB); the error that says so names them and their folder.
    """

    size: Annotated[int, Field(ge=32, le=1024)] = 224
    pooling: Literal["average", "max"] = "average"
    whole_image_norm: ClassVar[bool] = False
    reads_files: ClassVar[bool] = True

    def require(self) -> None:
        """SpecError where the weights are neither there nor to be had."""
        lpips.require()

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = lpips.lpips(x.device, self.pooling)(self.fitted(x), self.fitted(y))
        return found.to(x.dtype)

    def fitted(self, x: torch.Tensor) -> torch.Tensor:
        """Images as the network takes them: (B, 3, size, size), float32."""
        wide = x.float().expand(-1, 3, -1, -1)
        if x.shape[-1] >= 256:
            return wide
        resized: torch.Tensor = torch.nn.functional.interpolate(
            wide, (self.size, self.size), mode="bilinear", antialias=False
        )
        return resized
