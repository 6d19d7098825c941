"""One choice is better than another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator

from ablate.planning.cells import Row
from ablate.planning.claims.base import Claim, Evidence
from ablate.planning.claims.select import Contexts, contexts, names, side
from ablate.statistics.effect import Table, compare
from ablate.statistics.wording import describe


class Comparison(Claim):
    """FID of `better` is below FID of `worse`, by at least the factor `ratio`.

    A side maps fields to values: `{teacher: none}`. If a value is a list, the claim must hold for each value in it.
    `row` is a label, `nfe` a number of evaluations instead of the metric's. Two rows are compared if all fields that
    the sides do not name are equal.
    """

    better: dict[str, Any]
    worse: dict[str, Any]
    ratio: Annotated[float, Field(ge=1)] = 1.0

    _evaluations = field_validator("better", "worse")(side)

    def rows(self, rows: Sequence[Row], base: Mapping[str, Any]) -> set[int]:
        return {sample.row for contexts in self.pairs(rows) for pair in contexts for sample in pair}

    def pairs(self, rows: Sequence[Row]) -> list[Contexts]:
        """Each alternative's comparisons.

        Raises:
            SpecError: an alternative has none.
        """
        return contexts({"better": self.better, "worse": self.worse}, rows, self.nfe)

    def test(self, rows: Sequence[Row], base: Mapping[str, Any], table: Table) -> Evidence:
        """Supported if every alternative is beaten; contradicted if one is itself significantly better."""
        compared = [(places, compare(places, table, self.ratio)) for places in self.pairs(rows)]
        known = [(places, pair) for places, pair in compared if pair]
        if len(known) < len(compared):
            return Evidence(1.0, 1.0, 0, "not all of its rows have results")
        places, shown = max(known, key=lambda entry: entry[1].less)
        support = shown.less
        against = min(1.0, len(known) * min(pair.greater for _, pair in known))
        if support > against:
            places, shown = min(known, key=lambda entry: entry[1].greater)
        because = f"{names(places, rows)}: {describe(shown, times=self.ratio > 1)}"
        return Evidence(support, against, shown.n, because, shown, self.ratio)
