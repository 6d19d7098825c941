"""precision: device type -> autocast context of the network; everything outside it stays float32 or better."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ablate.core.lazy import torch
from ablate.core.registry import Axis

precision = Axis(__doc__, default="fp32")


@dataclass(frozen=True)
class Precision:
    """inputs: the dtype in which noisy images are computed; half precision is defect D7."""

    inputs: Literal["float32", "float16", "bfloat16"] = "float32"
    compute: ClassVar[str] = "float32"
    # on a GPU the loss is scaled, so that small gradients are not rounded to zero
    scales_loss: ClassVar[bool] = False

    @property
    def rounds_products(self) -> bool:
        """Whether a GPU may round the factors of float32 products; PyTorch's own default does in convolutions."""
        return False

    @property
    def replays(self) -> tuple[str, ...]:
        """The defect, if it is switched on."""
        return () if self.inputs == "float32" else ("D7",)

    def __call__(self, device: str) -> contextlib.AbstractContextManager[Any]:
        # for the whole process, because the backward pass runs after the context
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.rounds_products
        if self.compute == "float32":
            return contextlib.nullcontext()
        return torch.autocast(device, dtype=getattr(torch, self.compute))


@precision("fp32")
@dataclass(frozen=True)
class Fp32(Precision):
    """float32 everywhere; with tf32 a GPU rounds the factors of matrix products to 10 bits.

    Source: the default of diffusers' script, whose flag for tf32 is `--allow_tf32`.
    """

    tf32: bool = False

    @property
    def rounds_products(self) -> bool:
        """As chosen."""
        return self.tf32


@precision("bf16")
@dataclass(frozen=True)
class Bf16(Precision):
    """bfloat16 products and convolutions. Source: arXiv 1905.12322, by PyTorch's `autocast`."""

    compute: ClassVar[str] = "bfloat16"


@precision("fp16")
@dataclass(frozen=True)
class Fp16(Precision):
    """float16 products and convolutions, with a scaled loss.

    Source: arXiv 1710.03740, section 3, by PyTorch's `autocast` and `GradScaler`.
    """

    compute: ClassVar[str] = "float16"
    scales_loss: ClassVar[bool] = True
