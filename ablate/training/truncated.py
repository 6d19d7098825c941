"""A teacher that is another network below a noise level."""

from __future__ import annotations

from typing import Any

from ablate.core.lazy import torch
from ablate.training.denoiser import Denoiser


class Truncated(Denoiser):
    """f(x, sigma) of `own` where sigma >= level and of `frozen` where it is below.

    Both networks see the whole batch, so that row b of a dropout mask belongs to image b in either, and no device waits
    to learn how many images are on each side.
    """

    def __init__(self, own: Denoiser, frozen: Denoiser, level: float):
        super().__init__(own.recipe, own.network, own.classes)
        self.frozen, self.level = frozen, level

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        """As `Denoiser`."""
        below = self.frozen(x, sigma, *rest, **more)
        above = super().__call__(x, sigma, *rest, **more)
        return torch.where((sigma < self.level)[:, None, None, None], below, above)
