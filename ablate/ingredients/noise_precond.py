"""noise_precond: sigma (B,) -> c_noise (B,), the input of the network's embedding."""

from __future__ import annotations

from dataclasses import dataclass

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


@noise_precond("none")
@dataclass(frozen=True)
class NoNoisePrecond:
    """sigma itself. With Fourier scale 0.02 it is defect D9: levels below 0.5 get nearly equal features."""

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return sigma.clone()
