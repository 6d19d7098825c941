"""What every kind of claim has: the sentence, the metric, the rows that answer it, and a test."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from ablate.core.errors import SpecError
from ablate.core.section import Section
from ablate.planning.cells import Row
from ablate.statistics.effect import Effect, Table

KINDS: dict[str, type[Claim]] = {}  # the kind's own key -> its class
Text = Annotated[str, Field(min_length=1)]
Factor = Annotated[float, Field(gt=1)]


@dataclass(frozen=True)
class Evidence:
    """The result of a claim's test.

    support: one-sided p for the claim; against: for its opposite; both uncorrected, and 1 where nothing is known.
    n: seeds. because: what was seen. effect: the comparison that decides, if the test has one.
    margin: how many times lower than 1 the effect's ratio has to be. seen: the effect to show, if another test decides.
    """

    support: float
    against: float
    n: int
    because: str
    effect: Effect | None = None
    margin: float = 1.0
    seen: Effect | None = None

    @property
    def p(self) -> float:
        """Two-sided."""
        return min(1.0, 2 * min(self.support, self.against))


class Claim(Section):
    """A sentence with a test. A subclass is a kind; a file chooses it by the kind's first required field."""

    id: Text
    says: Text
    metric: str = "fid_1step"
    shared: ClassVar[bool] = False
    tuned: bool = False  # the rows answer it with their tuned values

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        if vars(cls).get("shared"):
            return  # no kind, but what several have
        own = [n for n, f in cls.model_fields.items() if n not in Claim.model_fields and f.is_required()]
        if not own:
            raise TypeError(
                f"{cls.__name__}: a kind of claim needs a required field, by which files choose it"
            )
        other = KINDS.setdefault(own[0], cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise SpecError(f"{cls.__module__} and {other.__module__} both define the claim {own[0]!r}")
        KINDS[own[0]] = cls

    @field_validator("metric")
    @classmethod
    def _measured(cls, metric: str) -> str:
        if not re.fullmatch(r"fid_([1-9]\d?)step", metric):
            raise ValueError(f"needs fid_1step, fid_2step, ..., not {metric!r}")
        return metric

    @property
    def nfe(self) -> int:
        """The number of network evaluations that its metric is measured at."""
        return int(self.metric[4:-4])

    @property
    def evaluations(self) -> set[int]:
        """All numbers of network evaluations that it needs results of: the metric's, or those of its sides."""
        sides = [value for value in vars(self).values() if isinstance(value, dict)]
        return {side.get("nfe", self.nfe) for side in sides} or {self.nfe}

    @abstractmethod
    def rows(self, rows: Sequence[Row], base: Mapping[str, Any]) -> set[int]:
        """Indices of the rows that answer the claim.

        Args:
            base: flat fields of the base recipe.
        Raises:
            SpecError: there are none, or their values do not suffice.
        """

    @abstractmethod
    def test(self, rows: Sequence[Row], base: Mapping[str, Any], table: Table) -> Evidence:
        """Whether the values in `table` support the claim or its opposite.

        Raises:
            SpecError: as `rows`.
        """
