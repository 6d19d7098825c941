"""One choice spreads less over seeds than another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import field_validator

from ablate.planning.cells import Row
from ablate.planning.claims.base import Claim, Evidence
from ablate.planning.claims.select import Contexts, contexts, names, side
from ablate.statistics.effect import Table
from ablate.statistics.spread import spread_of


class Steadier(Claim):
    """FID of `steadier` varies less over seeds than FID of `than`. The sides are those of a comparison."""

    steadier: dict[str, Any]
    than: dict[str, Any]

    _evaluations = field_validator("steadier", "than")(side)

    def rows(self, rows: Sequence[Row], base: Mapping[str, Any]) -> set[int]:
        return {sample.row for places in self.pairs(rows) for pair in places for sample in pair}

    def pairs(self, rows: Sequence[Row]) -> list[Contexts]:
        """Each alternative's comparisons.

        Raises:
            SpecError: an alternative has none.
        """
        return contexts({"steadier": self.steadier, "than": self.than}, rows, self.nfe)

    def test(self, rows: Sequence[Row], base: Mapping[str, Any], table: Table) -> Evidence:
        """Supported if it is so in every place; contradicted if one place shows the opposite."""
        places = [pair for alternative in self.pairs(rows) for pair in alternative]
        found = [(pair, spread) for pair in places if (spread := spread_of(*pair, table))]
        if len(found) < len(places):
            seeds = [len(scores) for pair in places for s in pair for scores in table.get(s, {}).values()]
            return Evidence(1.0, 1.0, min(seeds, default=0), "not all of its rows have two finite FIDs")
        pair, shown = max(found, key=lambda entry: entry[1].less)
        support, against = shown.less, min(1.0, len(found) * min(spread.greater for _, spread in found))
        if support > against:
            pair, shown = min(found, key=lambda entry: entry[1].greater)
        because = f"{names((pair,), rows)}: standard deviation of log FID ×{shown.ratio:.3g}"
        because += f" [{shown.low:.3g}, {shown.high:.3g}]"
        return Evidence(support, against, shown.n, because)
