"""noise_precond: sigma (B,) -> c_noise (B,), the input of the network's embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ablate.core.lazy import torch
from ablate.core.registry import Axis

noise_precond = Axis(__doc__, default="edm")


@noise_precond("edm")
@dataclass(frozen=True)
class Edm:
    """ln(sigma) / 4. Source: EDM Table 1; CM's CIFAR-10 code feeds this to its Fourier features."""

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return sigma.log() / 4


@noise_precond("cm")
@dataclass(frozen=True)
class Cm:
    """1000 ln(sigma + 1e-44) / 4. Source: the CM code's ImageNet network, whose embedding is positional."""

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return 1000 * 0.25 * (sigma + 1e-44).log()


@noise_precond("trig")
@dataclass(frozen=True)
class Trig:
    """arctan(sigma / sigma_data), from 0 to pi / 2: the time of TrigFlow, which is otherwise EDM's parameterization.

    Its slope stays bounded where that of ln(sigma), as a function of this time, grows without bound.
    Source: sCM (arXiv 2410.11081) section 4.
    """

    sigma_data: Annotated[float, Field(ge=1e-6, le=100)] = 0.5

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return (sigma / self.sigma_data).arctan()


@noise_precond("flow")
@dataclass(frozen=True)
class Flow:
    """sigma / (1 + sigma), from 0 to 1: the time of the linear path between images and noise.

    Source: MeanFlow (arXiv 2505.13447), alpha-Flow (arXiv 2510.20771).
    """

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return sigma / (1 + sigma)


@noise_precond("none")
@dataclass(frozen=True)
class NoNoisePrecond:
    """sigma itself. With Fourier scale 0.02 it is defect D9: levels below 0.5 get nearly equal features."""

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return sigma.clone()
