"""teacher: N -> mu, the decay of the teacher's weights toward the student's (0: the student under stop-gradient).

The noise level that the teacher sees: pairing.py. The loss of both: `ablate/training/loss.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ablate.core.registry import Axis

teacher = Axis(__doc__, default="none")

Mu = Annotated[float, Field(ge=0, lt=1)]


@teacher("none")
@dataclass(frozen=True)
class NoTeacher:
    """mu = 0: the teacher is the student, no second network is kept. Source: iCT section 3.2."""

    def __call__(self, N: int) -> float:
        return 0.0


@teacher("fixed")
@dataclass(frozen=True)
class Fixed:
    """The same mu at every step. Source: CM algorithm 2 (consistency distillation)."""

    mu: Mu = 0.95

    def __call__(self, N: int) -> float:
        return self.mu


@teacher("adaptive")
@dataclass(frozen=True)
class Adaptive:
    """mu = exp(s0 ln mu0 / N). Source: CM appendix C; mu0 = 0.95 on ImageNet-64.

    The paper writes N(k), the number of levels (`count: levels`); the CM code divides by the count before its
    final + 1 (`count: intervals`).
    """

    mu0: Annotated[float, Field(gt=0, lt=1)] = 0.9
    s0: Annotated[int, Field(ge=1, le=1_000_000)] = 2
    count: Literal["levels", "intervals"] = "levels"

    def __call__(self, N: int) -> float:
        return math.exp(self.s0 * math.log(self.mu0) / (N - (self.count == "intervals")))
