"""A field's best value lies inside a range."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from ablate.core.errors import SpecError
from ablate.planning.cells import Row
from ablate.planning.claims.base import Claim, Evidence, Factor, Text
from ablate.planning.claims.select import Sweep, ordered, sweep, values
from ablate.statistics.effect import Table, compare
from ablate.statistics.wording import describe


class Valley(Claim):
    """Over the field `valley`, FID is lowest inside a range and higher on either side.

    The range is `inside: [low, high]`, or `around`, a factor: from the base recipe's value divided by it to the value
    times it. `where` restricts the sweep to rows that have these values.
    """

    valley: Text
    inside: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    around: Factor | None = None
    where: dict[str, Any] = {}

    _ordered = field_validator("inside")(ordered)

    @model_validator(mode="after")
    def _one_range(self) -> Valley:
        if (self.inside is None) == (self.around is None):
            raise ValueError("needs either `inside` or `around`")
        return self

    def rows(self, rows: Sequence[Row], base: Mapping[str, Any]) -> set[int]:
        return {sample.row for _, sample in self.sweep(rows, base)[0]}

    def sweep(self, rows: Sequence[Row], base: Mapping[str, Any]) -> tuple[Sweep, float, float]:
        """The field's values with their samples, and the range.

        Raises:
            SpecError: no value is inside, or the base has no number there.
        """
        points = sweep(self.valley, self.where, self.nfe, rows)
        low, high = self.inside or self._near(base)
        if not any(low <= value <= high for value, _ in points):
            raise SpecError(
                f"valley: no value of {self.valley} lies in {low:g} to {high:g}: {values(points)}"
            )
        return points, low, high

    def _near(self, base: Mapping[str, Any]) -> tuple[float, float]:
        value, around = base.get(self.valley), self.around or 1.0
        if not isinstance(value, (int, float)):
            raise SpecError(
                f"around: {self.valley} is no number in the base recipe; give the range with `inside`"
            )
        return value / around, value * around

    def test(self, rows: Sequence[Row], base: Mapping[str, Any], table: Table) -> Evidence:
        """Support needs some value inside that beats every value outside, and values outside on both sides.

        An intersection-union test over the values outside, with Bonferroni's correction for the choice of the best
        value inside.
        """
        points, low, high = self.sweep(rows, base)
        points = [(value, sample) for value, sample in points if table.get(sample)]
        inside = {value: sample for value, sample in points if low <= value <= high}
        outside = {value: sample for value, sample in points if not low <= value <= high}
        if not inside or not outside:
            return Evidence(1.0, 1.0, 0, f"{self.valley} has no results inside its range, or none outside")
        grid = list(itertools.product(outside, inside))
        known = {(o, i): pair for o, i in grid if (pair := compare([(inside[i], outside[o])], table))}
        if len(known) < len(grid):
            return Evidence(1.0, 1.0, 0, "no seed has results in all rows")
        beaten = {o: min(1.0, len(inside) * min(known[o, i].less for i in inside)) for o in outside}
        better = {o: max(known[o, i].greater for i in inside) for o in outside}
        worst, rival = max(beaten, key=beaten.__getitem__), min(better, key=better.__getitem__)
        missing = [
            side
            for side, there in (("lower", min(outside) < low), ("upper", max(outside) > high))
            if not there
        ]
        support = 1.0 if missing else beaten[worst]
        against = min(1.0, len(outside) * better[rival])
        o = worst if support <= against else rival
        best = min(inside, key=lambda i: known[o, i].ratio)
        pair = known[o, best]
        because = f"{self.valley}={best:g} against {o:g} outside {low:.3g} to {high:.3g}: {describe(pair)}"
        because += f"; no value on the {' and the '.join(missing)} side" if missing else ""
        return Evidence(support, against, pair.n, because, None if missing else pair)
