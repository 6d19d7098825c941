"""parameterization: sigma (B,) -> c_skip, c_out (B,), of f(x, sigma) = c_skip x + c_out F(x, sigma)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ablate.core.lazy import torch
from ablate.core.registry import Axis, Option


class Parameterization(Option):
    """A parameterization also states the standard deviation of the images that it assumes."""

    sigma_data: float = 0.5


parameterization = Axis(__doc__, default="cm", base=Parameterization)

SigmaMin = Annotated[float, Field(ge=1e-6, lt=1e6)]
SigmaData = Annotated[float, Field(ge=1e-6, le=100)]


@parameterization("cm")
@dataclass(frozen=True)
class Cm:
    """c_skip = sd^2 / ((s - sigma_min)^2 + sd^2), c_out = sd (s - sigma_min) / sqrt(s^2 + sd^2).

    f(x, sigma_min) = x exactly. Source: CM appendix C.
    """

    sigma_min: SigmaMin = 0.002
    sigma_data: SigmaData = 0.5

    def __call__(self, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gap, variance = sigma - self.sigma_min, self.sigma_data**2
        return variance / (gap**2 + variance), self.sigma_data * gap / (sigma**2 + variance) ** 0.5


@parameterization("script")
@dataclass(frozen=True)
class Script:
    """The coefficients of diffusers' consistency training script, with a switch for each defect.

    scale_out false: c_out lacks the factor sigma_data (D2). subtract_min false: sigma_min is not subtracted, so
    f(x, sigma_min) is not x (D3). With both true it equals `cm`. Source: that script,
    `train_cm_ct_unconditional.py`.
    """

    scale_out: bool = False
    subtract_min: bool = False
    sigma_min: SigmaMin = 0.002
    sigma_data: SigmaData = 0.5

    @property
    def replays(self) -> tuple[str, ...]:
        """The defects that are switched on."""
        return (*(() if self.scale_out else ("D2",)), *(() if self.subtract_min else ("D3",)))

    def __call__(self, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gap = sigma - self.sigma_min if self.subtract_min else sigma
        variance, scale = self.sigma_data**2, self.sigma_data if self.scale_out else 1.0
        return variance / (gap**2 + variance), scale * gap / (sigma**2 + variance) ** 0.5


@parameterization("flow")
@dataclass(frozen=True)
class Flow:
    """c_skip = 1 - t, c_out = -t with t = g / (1 + g), g = s - sigma_min: the linear path from images to noise.

    At time t = s / (1 + s) of this path the image is z_t = (1 - t) x + t z = (x + s z) / (1 + s). F is a velocity,
    which leads from z_t to the image in one step: f = z_t - t F. Subtracting sigma_min makes f(x, sigma_min) = x.
    Source: MeanFlow (arXiv 2505.13447), alpha-Flow (arXiv 2510.20771).
    """

    sigma_min: SigmaMin = 0.002

    def __call__(self, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gap = sigma - self.sigma_min
        return 1 / (1 + gap), -gap / (1 + gap)
