"""schedule: (k, K) -> factor of the learning rate at step k of K; without K the training has no end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ablate.core.registry import Axis

schedule = Axis(__doc__, default="constant")

Steps = Annotated[int, Field(ge=0, le=10**9)]


@dataclass(frozen=True)
class Warmed:
    """A factor that rises linearly over `warmup` steps and then follows `after`."""

    warmup: Steps = 0

    def __call__(self, k: int, K: int | None = None) -> float:
        if k < self.warmup:
            return (k + 1) / self.warmup
        rest = max(1, K - self.warmup) if K is not None else math.inf
        return self.after(min(1.0, (k - self.warmup) / rest))

    def after(self, share: float) -> float:
        """The factor after a share, 0 to 1, of the steps that follow the warm-up."""
        return 1.0


@schedule("constant")
@dataclass(frozen=True)
class Constant(Warmed):
    """1 after the warm-up. Source: iCT (no warm-up); CM's RAdam ignored the warm-up that it was given, defect D17."""


@schedule("linear")
@dataclass(frozen=True)
class Linear(Warmed):
    """1 - share: falls to 0 at the end. Source: `get_linear_schedule_with_warmup` of diffusers."""

    def after(self, share: float) -> float:
        return 1 - share


@schedule("cosine")
@dataclass(frozen=True)
class Cosine(Warmed):
    """(1 + cos(pi share)) / 2. Source: arXiv 1608.03983."""

    def after(self, share: float) -> float:
        return (1 + math.cos(math.pi * share)) / 2


@schedule("restarts")
@dataclass(frozen=True)
class Restarts(Warmed):
    """The cosine, repeated `cycles` times. Source: arXiv 1608.03983."""

    cycles: Annotated[int, Field(ge=1, le=1000)] = 3

    def after(self, share: float) -> float:
        return 0.0 if share >= 1 else (1 + math.cos(math.pi * (share * self.cycles % 1))) / 2


@schedule("polynomial")
@dataclass(frozen=True)
class Polynomial(Warmed):
    """end + (1 - end) (1 - share)^power. Source: `get_polynomial_decay_schedule_with_warmup` of diffusers."""

    power: Annotated[float, Field(gt=0, le=100)] = 1.0
    end: Annotated[float, Field(ge=0, le=1)] = 0.0

    def after(self, share: float) -> float:
        return self.end + (1 - self.end) * math.pow(1 - share, self.power)


@schedule("inverse_root")
@dataclass(frozen=True)
class InverseRoot(Warmed):
    """1 / sqrt(max(1, k / reference)) after the warm-up. Source: EDM2 (arXiv 2312.02696) eq. 67."""

    reference: Annotated[int, Field(ge=1, le=10**9)] = 70_000

    def __call__(self, k: int, K: int | None = None) -> float:
        return super().__call__(k, K) / math.sqrt(max(1.0, k / self.reference))
