"""averaging: k -> decay of the sampled weights after step k (0 copies the model, 1 keeps the average)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.registry import Axis, Option

if TYPE_CHECKING:
    from torch import Tensor


class Averaging(Option):
    """An averaging also updates the average, by default with its decay."""

    __call__: Any

    def update(self, average: Tensor, weights: Tensor, k: int) -> None:
        """average += (1 - decay) (weights - average) after step k, in place; both are (P,), all parameters flat."""
        average.lerp_(weights, 1 - self(k))

    def initial_share(self, K: int) -> float:
        """The share of the initial weights in the average after K steps: the product of all decays."""
        share = 1.0
        for k in range(K):
            share *= self(k)
            if share < NEGLIGIBLE:
                return 0.0
        return share


averaging = Axis(__doc__, default="constant", base=Averaging)

NEGLIGIBLE = 1e-9  # a share that is not followed further
Decay = Annotated[float, Field(ge=0, le=1)]


@averaging("constant")
@dataclass(frozen=True)
class Constant:
    """The same decay at every step. Source: iCT Table 1 (0.99993), CM (0.9999)."""

    decay: Decay = 0.99993

    def __call__(self, k: int) -> float:
        return self.decay

    def initial_share(self, K: int) -> float:
        """decay^K."""
        return math.pow(self.decay, K)


@averaging("warmup")
@dataclass(frozen=True)
class Warmup:
    """clamp(1 - (1 + (k - start) / inv_gamma)^-power, min_decay, max_decay) after step `start`, and 0 up to it.

    Source: the EMAModel of diffusers, with the same fields; `use_ema` of its script.
    """

    max_decay: Decay = 0.9999
    min_decay: Decay = 0.0
    inv_gamma: Annotated[float, Field(gt=0)] = 1.0
    power: Annotated[float, Field(gt=0, le=10)] = 0.75
    start: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.min_decay > self.max_decay:
            raise SpecError(
                f"min_decay <= max_decay must hold, but got min_decay={self.min_decay}, max_decay={self.max_decay}"
            )

    def __call__(self, k: int) -> float:
        if k <= self.start:
            return 0.0
        decay = 1 - math.pow(1 + (k - self.start) / self.inv_gamma, -self.power)
        return min(max(decay, self.min_decay), self.max_decay)


@averaging("power")
@dataclass(frozen=True)
class Power:
    """(1 - 1 / (k + 1))^(gamma + 1): the average's profile over training is a power function k^gamma.

    Source: EDM2 (arXiv 2312.02696) section 3.1; gamma = 6.94 is their sigma_rel = 0.10.
    """

    gamma: Annotated[float, Field(ge=0, le=1000)] = 6.94

    def __call__(self, k: int) -> float:
        return math.pow(1 - 1 / (k + 1), self.gamma + 1)


@averaging("power_inverted")
@dataclass(frozen=True)
class PowerInverted(Power):
    """1 minus the decay of `power`: the first steps hardly move the average, and later it is the live network.

    Defect D24 (sony/vct passes the rate where the decay belongs).
    """

    replays: ClassVar[tuple[str, ...]] = ("D24",)

    def __call__(self, k: int) -> float:
        return 1 - super().__call__(k)


@averaging("swapped")
@dataclass(frozen=True)
class Swapped(Constant):
    """The update with its arguments swapped: it moves the model towards the average, and the average never changes.

    Defect D10 (two public trainers).
    """

    replays: ClassVar[tuple[str, ...]] = ("D10",)

    def update(self, average: Tensor, weights: Tensor, k: int) -> None:
        weights.lerp_(average, 1 - self(k))

    def initial_share(self, K: int) -> float:
        """1."""
        return 1.0
