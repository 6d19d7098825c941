"""Networks that halve the resolution of an image from level to level: which sizes suit them, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ablate.core.errors import SpecError


class Halving:
    """Its height and width are halved between levels, of which a field has an entry each."""

    per_level: ClassVar[str] = "multipliers"

    def for_images(self, shape: Sequence[int]) -> Any:
        """The option itself; SpecError if H or W cannot be halved once per level."""
        levels = len(getattr(self, self.per_level))
        least = 2 ** (levels - 1)
        if any(side % least or side < 1 for side in shape[1:]):
            law = f"height and width must be multiples of 2^(levels-1) = {least}"
            raise SpecError(
                f"network.{self.per_level}: {law}, but got {shape[1]}x{shape[2]} and {levels} levels"
            )
        return self


class Headed(Halving):
    """It has attention heads of a fixed width at some resolutions, and at its last level."""

    width: Any
    multipliers: Any
    attention: Any
    head_channels: Any

    def for_images(self, shape: Sequence[int]) -> Any:
        """The option itself; SpecError if H, W or the heads do not divide evenly."""
        last = len(self.multipliers) - 1
        for level, multiplier in enumerate(self.multipliers):
            channels = self.width * multiplier
            heads = max(1, channels // self.head_channels)
            if (level == last or min(shape[1:]) >> level in self.attention) and channels % heads:
                law = f"{channels} channels cannot be split into {heads} equal heads"
                raise SpecError(f"network.head_channels: {self.head_channels}: {law}")
        return super().for_images(shape)
