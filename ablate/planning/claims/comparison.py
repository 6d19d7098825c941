"""One choice is better than another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator

from ablate.core.errors import SpecError
from ablate.planning.cells import Row
from ablate.planning.claims.base import Claim, Evidence
from ablate.planning.claims.select import OWN, alternatives, equal_but, matching
from ablate.statistics.paired import Sample, Table, compare
from ablate.statistics.wording import describe

Contexts = tuple[
    tuple[Sample, Sample], ...
]  # a better and a worse sample, in each place where all else is equal


class Comparison(Claim):
    """FID of `better` is below FID of `worse`, by at least the factor `ratio`.

    A side maps fields to values: `{teacher: none}`. If a value is a list, the claim must hold for each value in it.
    `row` is a label, `nfe` a number of evaluations instead of the metric's. Two rows are compared if all fields that
    the sides do not name are equal.
    """

    better: dict[str, Any]
    worse: dict[str, Any]
    ratio: Annotated[float, Field(ge=1)] = 1.0

    @field_validator("better", "worse")
    @classmethod
    def _evaluations(cls, side: dict[str, Any]) -> dict[str, Any]:
        if isinstance(nfe := side.get("nfe", 1), bool) or not isinstance(nfe, int) or nfe < 1:
            raise ValueError(f"nfe: needs a number of evaluations, not {nfe!r}")
        return side

    def rows(self, rows: Sequence[Row], base: Mapping[str, Any]) -> set[int]:
        return {sample.row for contexts in self.pairs(rows) for pair in contexts for sample in pair}

    def pairs(self, rows: Sequence[Row]) -> list[Contexts]:
        """Each alternative's comparisons.

        Raises:
            SpecError: an alternative has none.
        """
        flats = [row.recipe.flat() for row in rows]
        sides = itertools.product(alternatives(self.better), alternatives(self.worse))
        return [tuple(self._contexts(better, worse, rows, flats)) for better, worse in sides]

    def _contexts(
        self,
        better: Mapping[str, Any],
        worse: Mapping[str, Any],
        rows: Sequence[Row],
        flats: Sequence[Mapping[str, Any]],
    ) -> Iterator[tuple[Sample, Sample]]:
        """Pairs of rows that differ as the sides do; rows with equal cells count once."""
        free = {k for k in {**better, **worse} if k not in OWN and better.get(k, ...) != worse.get(k, ...)}
        named = "row" in better or "row" in worse
        left, right = matching(better, rows, flats, "better"), matching(worse, rows, flats, "worse")
        nfe = [int(side.get("nfe", self.nfe)) for side in (better, worse)]
        seen = set[Any]()
        for a, b in itertools.product(left, right):
            fits = (a != b or nfe[0] != nfe[1]) and (named or equal_but(flats[a], flats[b], free))
            if fits and (rows[a].keys, rows[b].keys) not in seen:
                seen.add((rows[a].keys, rows[b].keys))
                yield Sample(a, nfe[0]), Sample(b, nfe[1])
        if not seen:
            shown = f"{rows[left[0]].label!r} and {rows[right[0]].label!r}"
            raise SpecError(f"no two rows differ in {', '.join(sorted(free)) or 'nfe'} alone: {shown}")

    def test(self, rows: Sequence[Row], base: Mapping[str, Any], table: Table) -> Evidence:
        """Supported if every alternative is beaten; contradicted if one is itself significantly better."""
        compared = [(contexts, compare(contexts, table, self.ratio)) for contexts in self.pairs(rows)]
        known = [(contexts, pair) for contexts, pair in compared if pair]
        if len(known) < len(compared):
            return Evidence(1.0, 1.0, 0, "not all of its rows have results")
        contexts, shown = max(known, key=lambda entry: entry[1].less)
        support = shown.less
        against = min(1.0, len(known) * min(pair.greater for _, pair in known))
        if support > against:
            contexts, shown = min(known, key=lambda entry: entry[1].greater)
        because = f"{_names(contexts, rows)}: {describe(shown)}"
        return Evidence(support, against, shown.n, because, shown, self.ratio)


def _names(contexts: Contexts, rows: Sequence[Row]) -> str:
    better, worse = (rows[sample.row].label for sample in contexts[0])
    more = f" and {len(contexts) - 1} more" if len(contexts) > 1 else ""
    return (f"{better} against {worse}" if better != worse else better) + more
