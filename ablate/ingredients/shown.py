"""What a pairing is shown of a step: images, the teacher and the student."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ablate.core.lazy import torch


class Shown(Protocol):
    """What a target can be made of. share: of the run that is over, 0 to 1; x: images (B, C, H, W), clean ones.

    until: the second levels (B,) that the pairing stated, or None. w: (B,) in [0, 1), for pairings with `uses_w`.
    """

    @property
    def share(self) -> float: ...

    @property
    def x(self) -> torch.Tensor: ...  # with another `direction` than `noise`, where it leads at sigma = 0

    @property
    def until(self) -> torch.Tensor | None: ...

    @property
    def w(self) -> torch.Tensor | None: ...

    def noisy(self, sigma: torch.Tensor) -> torch.Tensor:
        """The noisy images (B, C, H, W) at sigma (B,), on the line of the direction."""

    def teacher(
        self, sigma: torch.Tensor, x: torch.Tensor | None = None, until: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The teacher's estimate (B, C, H, W) from x at sigma (B,), by default `noisy`, for a step to `until`."""

    def slope(self, sigma: torch.Tensor) -> torch.Tensor:
        """The derivative (B, C, H, W) of this estimate by sigma (B,), along the direction, with `until` held."""


# what `estimate` returns, detached -> what it is compared with
Target = Callable[["torch.Tensor"], "torch.Tensor"]
# the level (B,) at which a step ends, or None -> the student's image (B, C, H, W), in one pass
Student = Callable[["torch.Tensor | None"], "torch.Tensor"]
