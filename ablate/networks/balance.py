"""A trained function of the noise level."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Balance(nn.Module):
    """sigma (B,) -> w . features(ln(sigma) / 4) - offset (B,), float32, with w = 0 at first."""

    def __init__(self, features: Any, offset: float):
        super().__init__()
        self.features, self.offset = features, offset
        self.head = nn.Linear(features.channels, 1, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, sigma: Tensor) -> Tensor:
        """sigma (B,) -> (B,)."""
        value: Tensor = self.head(self.features(sigma.log() / 4))[:, 0]
        return value - self.offset
