"""optimizer: parameters -> torch Optimizer."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from ablate.core.errors import missing_extra
from ablate.core.lazy import torch
from ablate.core.registry import Axis

optimizer = Axis(__doc__, default="radam")

Rate = Annotated[float, Field(gt=0, le=10)]
Beta = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Adaptive:
    """The fields of all Adam variants. clip: largest gradient norm; unset: no clipping."""

    lr: Rate = 1e-4
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: Annotated[float, Field(ge=1e-15, le=1)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.0
    clip: Annotated[float, Field(gt=0)] | None = None

    def arguments(self) -> dict[str, Any]:
        """The fields under the names of the torch classes."""
        return {"lr": self.lr, "betas": self.betas, "eps": self.eps, "weight_decay": self.weight_decay}


@optimizer("radam")
@dataclass(frozen=True)
class RAdam(Adaptive):
    """Rectified Adam. Source: CM and iCT (lr 1e-4; CM's command line has 4e-4)."""

    def __call__(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        return torch.optim.RAdam(parameters, **self.arguments())


@optimizer("adam")
@dataclass(frozen=True)
class Adam(Adaptive):
    """Adam, fused into one kernel. Source: arXiv 1412.6980, algorithm 1."""

    def __call__(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, fused=True, **self.arguments())


@optimizer("adamw")
@dataclass(frozen=True)
class AdamW(Adaptive):
    """Adam with decoupled weight decay; 0.01 as in diffusers' script. Source: arXiv 1711.05101, algorithm 2."""

    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.01

    def __call__(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, fused=True, **self.arguments())


@optimizer("lion")
@dataclass(frozen=True)
class Lion:
    """w -= lr (sign(b1 m + (1 - b1) g) + weight_decay w), then m = b2 m + (1 - b2) g; g: gradient, betas: (b1, b2).

    Every weight moves by lr, so lr is usually three to ten times smaller than Adam's. By lion-pytorch.
    Source: arXiv 2302.06675, algorithm 2; the experiments of arXiv 2406.09570 on couplings have lr 1e-4.

    Args:
        clip: largest gradient norm; unset: no clipping.
    """

    lr: Rate = 1e-4
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.0
    clip: Annotated[float, Field(gt=0)] | None = None

    def __call__(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        import lion_pytorch

        made: torch.optim.Optimizer = lion_pytorch.Lion(
            parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay
        )
        return made


@optimizer("adamw_8bit")
@dataclass(frozen=True)
class AdamW8bit(AdamW):
    """AdamW with 8-bit state, by bitsandbytes (`pip install -e '.[8bit]'`). Source: arXiv 2110.02861."""

    def __post_init__(self) -> None:
        if importlib.util.find_spec("bitsandbytes") is None:
            raise missing_extra("adamw_8bit", "8bit")

    def __call__(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(parameters, **self.arguments())  # type: ignore[no-any-return]
