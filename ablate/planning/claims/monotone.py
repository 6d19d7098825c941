"""More of a field is better."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator

from ablate.core.errors import SpecError
from ablate.planning.cells import Row
from ablate.planning.claims.base import Claim, Evidence, Text
from ablate.planning.claims.select import Sweep, ordered, sweep, values
from ablate.statistics.effect import Table, compare
from ablate.statistics.significance import ALPHA, trend
from ablate.statistics.wording import describe


class Monotone(Claim):
    """FID falls as the field `monotone` grows.

    `inside: [low, high]` restricts the values of the field; `where` restricts the rows to those with these values.
    """

    monotone: Text
    inside: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    where: dict[str, Any] = {}

    _ordered = field_validator("inside")(ordered)

    def rows(self, rows: Sequence[Row], base: Mapping[str, Any]) -> set[int]:
        return {sample.row for _, sample in self.sweep(rows)}

    def sweep(self, rows: Sequence[Row]) -> Sweep:
        """The field's values inside with their samples.

        Raises:
            SpecError: there are fewer than three.
        """
        points = sweep(self.monotone, self.where, self.nfe, rows)
        low, high = self.inside or (points[0][0], points[-1][0])
        points = [(value, sample) for value, sample in points if low <= value <= high]
        if len(points) < 3:
            raise SpecError(f"monotone: {self.monotone} needs three values inside, but has {values(points)}")
        return points

    def test(self, rows: Sequence[Row], base: Mapping[str, Any], table: Table) -> Evidence:
        """Supported if Page's test over seeds shows a trend and FID rises significantly between no two neighbours."""
        points = self.sweep(rows)
        columns = [next(iter(table.get(sample, {}).values()), {}) for _, sample in points]
        seeds = sorted(set.intersection(*(set(column) for column in columns)))
        if len(seeds) < 2:
            return Evidence(1.0, 1.0, len(seeds), "fewer than two seeds have results at every value")
        falls, rises = trend([[column[seed] for column in columns] for seed in seeds])
        (first, start), (last, end) = points[0], points[-1]
        because = f"{self.monotone} {first:g} to {last:g}: Page's trend over {len(points)} values"
        for (a, before), (b, after) in itertools.pairwise(points):
            if (pair := compare([(after, before)], table)) and pair.greater < ALPHA:
                because += f", but from {a:g} to {b:g} {describe(pair)}"
                return Evidence(1.0, rises, len(seeds), because)
        if ends := compare([(end, start)], table):
            because += f"; from end to end {describe(ends)}"
        return Evidence(falls, rises, len(seeds), because, seen=ends)
