"""embedding: c_noise (B,) -> (B, E)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.hardware import sent
from ablate.core.lazy import torch
from ablate.core.registry import Axis, Option

if TYPE_CHECKING:
    from torch import Tensor


class Embedding(Option):
    """An embedding may keep its frequencies in the network's weights; it then has `frequencies` and `features`."""

    stored: bool = False


embedding = Axis(__doc__, default="fourier", base=Embedding)

FREQUENCY_SEED = 20231022  # arbitrary but fixed: all recipes and seeds share the frequencies


def _check_even(channels: int) -> None:
    if channels % 2:
        raise SpecError(f"channels: an even number (cosines and sines) must be given, but got {channels}")


# a dict, because torch.compile traces through functools.cache and would draw new frequencies
kept_frequencies: dict[tuple[int, float, torch.device], Tensor] = {}


def frequencies(channels: int, scale: float, device: torch.device) -> Tensor:
    """Normal frequencies (channels / 2,) of standard deviation `scale`, float32, the same on every device."""
    key = (channels, scale, device)
    if key not in kept_frequencies:
        generator = torch.Generator().manual_seed(FREQUENCY_SEED)
        with torch.inference_mode(False):  # else frequencies drawn while sampling could not be trained with
            drawn = torch.randn(channels // 2, generator=generator, device="cpu")
            kept_frequencies[key] = sent(drawn * scale, device)
    return kept_frequencies[key]


@embedding("fourier")
@dataclass(frozen=True)
class Fourier:
    """Random Fourier features, (cos, sin)(2 pi c_noise f), f ~ Normal(0, scale^2) drawn once for all recipes.

    With a small scale, close values of c_noise get nearly equal features, and so do small raw sigmas.

    Source: NCSN++ (arXiv 2011.13456), `GaussianFourierProjection` of its code, score_sde; CM and EDM have scale 16, iCT
    0.02 (arXiv 2310.14189, section 3.3).

    Args:
        scale: standard deviation of the frequencies, in cycles per unit of c_noise.
        channels: E, even.
        stored: the frequencies are part of the network's weights. Networks of other projects come with their own;
            from scratch they are those that are drawn.
    """

    scale: Annotated[float, Field(gt=0, le=1e6)] = 0.02
    channels: Annotated[int, Field(ge=2)] = 256
    stored: bool = False
    added_fields = ("stored",)

    def __post_init__(self) -> None:
        _check_even(self.channels)

    def frequencies(self, device: torch.device) -> Tensor:
        """The frequencies (channels / 2,) that are drawn, float32."""
        return frequencies(self.channels, self.scale, device)

    def features(self, c_noise: Tensor, scaled: Tensor) -> Tensor:
        """c_noise (B,) and frequencies (channels / 2,) -> (B, channels), float32."""
        phase = 2 * math.pi * torch.outer(c_noise.float(), scaled)
        return torch.cat([phase.cos(), phase.sin()], dim=1)

    def __call__(self, c_noise: Tensor) -> Tensor:
        """c_noise (B,) -> (B, channels), float32."""
        return self.features(c_noise, self.frequencies(c_noise.device))


@embedding("positional")
@dataclass(frozen=True)
class Positional:
    """Sinusoids of geometric frequencies, (cos, sin)(c_noise f_j), j = 0 ... E/2 - 1, f_j = max_positions^(-j / (E/2)).

    Source: the Transformer (arXiv 1706.03762) section 3.5; DDPM (arXiv 2006.11239, appendix B), DDPM++ and ADM embed
    noise levels with it.

    Args:
        channels: E, even.
        max_positions: reciprocal of the lower limit of the frequencies.
        endpoint: divide j by E/2 - 1, so that the last frequency is the limit itself. EDM's DDPM++ and NCSN++ and
            score_sde do; ADM and Consistency Models do not.
    """

    channels: Annotated[int, Field(ge=2)] = 128
    max_positions: Annotated[float, Field(gt=1)] = 10000
    endpoint: bool = False
    added_fields = ("endpoint",)

    def __post_init__(self) -> None:
        _check_even(self.channels)
        if self.endpoint and self.channels < 4:
            raise SpecError(f"endpoint: channels >= 4 must hold, but got channels={self.channels}")

    def __call__(self, c_noise: Tensor) -> Tensor:
        """c_noise (B,) -> (B, channels), float32."""
        half = self.channels // 2
        steps = torch.arange(half, dtype=torch.float32, device=c_noise.device)
        powers = (
            -math.log(self.max_positions) * steps / (half - self.endpoint)
        ).exp()  # rounded as diffusers and ADM do
        phase = torch.outer(c_noise.float(), powers)
        return torch.cat([phase.cos(), phase.sin()], dim=1)
