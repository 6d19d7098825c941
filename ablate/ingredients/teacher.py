"""teacher: N -> mu, the decay of the teacher's weights toward the student's (0: the student under stop-gradient).

The noise level that the teacher sees: pairing.py. The loss of both: `ablate/training/loss.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.registry import Axis, Option
from ablate.ingredients.other_cell import NetworkOfRecipe, filling

if TYPE_CHECKING:
    from ablate.ingredients.init_from import InitFrom


class Teacher(Option):
    """A teacher may be another cell's network below a level."""

    level: float = 0.0  # below it the network of `weights` is the teacher, and the student is not sampled

    def untrained(self) -> Any:
        """The option with random weights in place of those of a cell, for checks and timings."""
        return self

    def weights(self) -> InitFrom | None:
        """The option of `init_from` that fills a copy of the recipe's network, which then stays as it is."""
        return None


teacher = Axis(__doc__, default="none", base=Teacher)

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


@teacher("frozen_below")
@dataclass(frozen=True)
class FrozenBelow(NetworkOfRecipe):
    """mu = 0 from `level` upwards; below it the teacher is the averaged network of another recipe's cell, frozen.

    `run` computes that cell first, with this recipe's network, embedding, levels, preconditioning and parameterization.
    It has the student's dropout masks. In TCM it is also what the student starts from (`init_from`). The model is the
    student's network above and the frozen one below, which the cell does not keep: lower steps of sampling are refused.
    Source: TCM (arXiv 2410.14895), with level = 1; its code samples the student's network at all levels.

    Args:
        recipe: a name or a path.
        share: of the profile's images that the other cell is trained on; this cell is trained on the rest. The same
            recipe and share as those of `init_from` are one cell, which counts once. Unset: each is trained on all.
        level: sigma.
    """

    level: Annotated[float, Field(ge=1e-6, lt=1e6)] = 1.0
    passes = 1  # the frozen network's

    def __call__(self, N: int) -> float:
        return 0.0

    def suits(self, parts: Mapping[str, Any]) -> None:
        """Raise a SpecError if that recipe trains a denoiser."""
        if parts["pairing"].denoises:
            raise SpecError("trains a denoiser; needs a consistency function, such as ect_tuned")

    def filled(self, path: str) -> Filled:
        """With the file of the weights."""
        return Filled(self.recipe, self.share, self.level, path)


@dataclass(frozen=True)
class Filled(FrozenBelow):
    """`frozen_below` with the file of its weights; without one they are random."""

    path: str = ""

    def weights(self) -> Any:
        """The file, or random weights."""
        return filling(self.path)
