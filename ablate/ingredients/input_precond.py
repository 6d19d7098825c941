"""input_precond: sigma (B,) -> c_in (B,), the factor of the network's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ablate.core.lazy import torch
from ablate.core.registry import Axis, Option


class InputPrecond(Option):
    """An input preconditioning also applies its factor."""

    __call__: Any
    sigma_data: float = 0.5  # the standard deviation of the images that it assumes
    least_std: ClassVar[float] = 0.9  # the smallest standard deviation of the network's input that it intends

    def apply(self, x: torch.Tensor, c_in: torch.Tensor) -> torch.Tensor:
        """The input of the network: c_in x, for x (B, C, H, W) and c_in (B, 1, 1, 1), float32."""
        return c_in * x


input_precond = Axis(__doc__, default="cm", base=InputPrecond)

SigmaData = Annotated[float, Field(ge=1e-6, le=100)]


@input_precond("cm")
@dataclass(frozen=True)
class Cm:
    """1 / sqrt(sigma^2 + sigma_data^2): inputs of unit variance. Source: EDM Table 1, CM appendix C."""

    sigma_data: SigmaData = 0.5

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return (sigma**2 + self.sigma_data**2) ** -0.5


@input_precond("flow")
@dataclass(frozen=True)
class Flow:
    """1 / (1 + sigma): the input is z_t = (1 - t) x + t z at time t = sigma / (1 + sigma) of the linear path.

    Its standard deviation is below 1: between 0.45 and 1 for images of sigma_data 0.5.
    Source: MeanFlow (arXiv 2505.13447), alpha-Flow (arXiv 2510.20771).
    """

    least_std: ClassVar[float] = 0.4

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + sigma)


@input_precond("none")
@dataclass(frozen=True)
class NoInputPrecond:
    """1. Defect D8: inputs of a standard deviation up to 80."""

    replays: ClassVar[tuple[str, ...]] = ("D8",)

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(sigma)


@input_precond("script")
@dataclass(frozen=True)
class Script:
    """1 / (sigma^2 + sigma_data^2): the root is missing. Defect D1 (diffusers' consistency training script)."""

    sigma_data: SigmaData = 0.5
    replays: ClassVar[tuple[str, ...]] = ("D1",)

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return 1 / (sigma**2 + self.sigma_data**2)


@input_precond("squared")
@dataclass(frozen=True)
class Squared(Cm):
    """c_in as in `cm`, but the input of the network is c_in x^2. Defect D11 (leakedweights/mincy)."""

    replays: ClassVar[tuple[str, ...]] = ("D11",)

    def apply(self, x: torch.Tensor, c_in: torch.Tensor) -> torch.Tensor:
        return c_in * torch.pow(x, 2)
