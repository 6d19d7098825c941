"""curriculum: (k, K) -> N, the number of levels at step k of K."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.registry import Axis

curriculum = Axis(__doc__, default="exponential")

Count = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True)
class Growing:
    """From s0 to s1 intervals; a ladder of n intervals has N = n + 1 levels."""

    s0: Count = 10
    s1: Count = 1280

    def __post_init__(self) -> None:
        if self.s0 > self.s1:
            raise SpecError(f"s0 <= s1 must hold, but got s0={self.s0}, s1={self.s1}")

    def between(self, share: float) -> int:
        """N at a share, 0 to 1, of the way from s0 to s1."""
        return math.floor(self.s0 + share * (self.s1 - self.s0)) + 1


@curriculum("constant")
@dataclass(frozen=True)
class Constant:
    """N = s1 + 1 at every step. Source: iCT section 3.4."""

    s1: Count = 1280

    def __call__(self, k: int, K: int) -> int:
        return self.s1 + 1


@curriculum("sqrt")
@dataclass(frozen=True)
class Sqrt(Growing):
    """N = max(ceil(sqrt(k/K ((s1 + 1)^2 - s0^2) + s0^2) - 1), 1) + 1. Source: CM appendix C; s1 = 200 on ImageNet-64.

    The maximum is in CM's code, not in the paper: with s0 = 1 the first step has two levels, too.
    """

    s0: Count = 2
    s1: Count = 150

    def __call__(self, k: int, K: int) -> int:
        intervals = math.ceil(math.sqrt(k / K * ((self.s1 + 1) ** 2 - self.s0**2) + self.s0**2) - 1)
        return max(intervals, 1) + 1


@curriculum("linear")
@dataclass(frozen=True)
class Linear(Growing):
    """N = floor(s0 + k/K (s1 - s0)) + 1. Source: iCT section 3.4 (family; the paper prints curves only)."""

    def __call__(self, k: int, K: int) -> int:
        return self.between(k / K)


@curriculum("square")
@dataclass(frozen=True)
class Square(Growing):
    """N = floor(s0 + (k/K)^2 (s1 - s0)) + 1. Source: iCT section 3.4 (family)."""

    def __call__(self, k: int, K: int) -> int:
        return self.between((k / K) ** 2)


@curriculum("cosine")
@dataclass(frozen=True)
class Cosine(Growing):
    """N = floor(s0 + (1 - cos(pi k/K)) / 2 (s1 - s0)) + 1. Source: iCT section 3.4 (family)."""

    def __call__(self, k: int, K: int) -> int:
        return self.between((1 - math.cos(math.pi * k / K)) / 2)


@curriculum("exponential")
@dataclass(frozen=True)
class Exponential(Growing):
    """N = min(s0 2^floor(k/K'), s1) + 1, K' = floor(K / (log2 floor(s1/s0) + 1)). Source: iCT Table 1.

    Needs K' >= 1: a run of at least log2 floor(s1/s0) + 1 steps (8 for 10 -> 1280).
    """

    def doubling(self, K: int) -> int:
        """K', the number of steps between two doublings; SpecError if K' < 1."""
        stages = math.log2(self.s1 // self.s0) + 1
        if stages > K:
            law = f"K >= log2 floor(s1/s0) + 1 = {stages:.4g} must hold"
            raise SpecError(f"{law}, but got K={K} steps, s0={self.s0}, s1={self.s1}")
        return math.floor(K / stages)

    def __call__(self, k: int, K: int) -> int:
        doublings = min(k // self.doubling(K), 64)  # 2^64 is past any s1
        return min(self.s0 << doublings, self.s1) + 1
