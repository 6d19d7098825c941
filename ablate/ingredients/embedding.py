"""embedding: c_noise (B,) -> (B, E)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.lazy import torch
from ablate.core.registry import Axis

if TYPE_CHECKING:
    from torch import Tensor

embedding = Axis(__doc__, default="fourier")

FREQUENCY_SEED = 20231022  # arbitrary but fixed: all recipes and seeds share the frequencies


def _check_even(channels: int) -> None:
    if channels % 2:
        raise SpecError(f"channels: an even number (cosines and sines) must be given, but got {channels}")


# a dict, because torch.compile traces through functools.cache and would draw new frequencies
_frequencies: dict[tuple[int, float, torch.device], Tensor] = {}


def frequencies(channels: int, scale: float, device: torch.device) -> Tensor:
    """Normal frequencies (channels / 2,) of standard deviation `scale`, float32, the same on every device."""
    key = (channels, scale, device)
    if key not in _frequencies:
        generator = torch.Generator().manual_seed(FREQUENCY_SEED)
        with torch.inference_mode(False):  # else frequencies drawn while sampling could not be trained with
            drawn = torch.randn(channels // 2, generator=generator, device="cpu")
            _frequencies[key] = (drawn * scale).to(device)
    return _frequencies[key]


@embedding("fourier")
@dataclass(frozen=True)
class Fourier:
    """Random Fourier features, (cos, sin)(2 pi c_noise f), f ~ Normal(0, scale^2) drawn once for all recipes.

    NCSN++ of Song et al. 2021 (arXiv 2011.13456); CT and EDM use scale 16, iCT 0.02 (Song and Dhariwal 2023,
    section 3.3). With a small scale, close values of c_noise get nearly equal features, and so do small raw sigmas.

    Args:
        scale: standard deviation of the frequencies, in cycles per unit of c_noise.
        channels: E, even.
    """

    scale: Annotated[float, Field(gt=0, le=1e6)] = 0.02
    channels: Annotated[int, Field(ge=2)] = 256

    def __post_init__(self) -> None:
        _check_even(self.channels)

    def __call__(self, c_noise: Tensor) -> Tensor:
        """c_noise (B,) -> (B, channels), float32."""
        scaled = frequencies(self.channels, self.scale, c_noise.device)
        phase = 2 * math.pi * torch.outer(c_noise.float(), scaled)
        return torch.cat([phase.cos(), phase.sin()], dim=1)


@embedding("positional")
@dataclass(frozen=True)
class Positional:
    """Sinusoids of geometric frequencies, (cos, sin)(c_noise f_j) with f_j = max_positions^(-j / (E/2)).

    From the Transformer (Vaswani et al. 2017); DDPM (Ho et al. 2020), DDPM++ and ADM embed noise levels with it.

    Args:
        channels: E, even.
        max_positions: reciprocal of the lower limit of the frequencies.
    """

    channels: Annotated[int, Field(ge=2)] = 128
    max_positions: Annotated[float, Field(gt=1)] = 10000

    def __post_init__(self) -> None:
        _check_even(self.channels)

    def __call__(self, c_noise: Tensor) -> Tensor:
        """c_noise (B,) -> (B, channels), float32."""
        half = self.channels // 2
        steps = torch.arange(half, dtype=torch.float32, device=c_noise.device)
        powers = (-math.log(self.max_positions) * steps / half).exp()  # rounded as diffusers and ADM do
        phase = torch.outer(c_noise.float(), powers)
        return torch.cat([phase.cos(), phase.sin()], dim=1)
