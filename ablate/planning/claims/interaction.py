"""Two axes depend on each other: what one changes is different with and without the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from ablate.core.errors import SpecError, nearest
from ablate.planning.cells import Row
from ablate.planning.claims.base import Claim, Evidence, Text
from ablate.planning.factorial import factorials
from ablate.statistics import factorial
from ablate.statistics.designs import Term
from ablate.statistics.effect import Table
from ablate.statistics.wording import ratios


class Interaction(Claim):
    """The two axes named in `interaction` interact: their effects on log FID do not add up.

    `sign: positive` claims that FID is higher where both axes are changed, or neither, than their single changes
    predict; `negative` that it is lower; `any`, the default, claims that it differs. Needs a `factorial` over both axes
    that can tell their interaction apart from every main effect and every other interaction of two axes.
    """

    interaction: Annotated[list[Text], Field(min_length=2, max_length=2)]
    sign: Literal["positive", "negative", "any"] = "any"

    def rows(self, rows: Sequence[Row], base: Mapping[str, Any]) -> set[int]:
        return {*self._design(rows)}

    def _design(self, rows: Sequence[Row]) -> dict[int, Mapping[str, int]]:
        """The levels of the rows of the first factorial over both axes, by row."""
        first, second = self.interaction
        if first == second:
            raise SpecError(f"interaction: needs two axes, not {first!r} twice")
        known = factorials(rows)
        design = next((levels for levels in known if {first, second} <= {*_axes(levels)}), None)
        if design is None:
            raise SpecError(*self._unknown({axis for levels in known for axis in _axes(levels)}))
        cells = factorial.collect(design, {})
        if others := [t for t in cells.aliases(self._term(cells)) if len(t) < 3]:
            raise SpecError(
                f"interaction: this fraction cannot tell {' x '.join(self.interaction)} from "
                f"{', '.join(map(cells.named, others))}; resolution V or full can"
            )
        return design

    def _unknown(self, axes: set[str]) -> list[str]:
        if not axes:
            return ["interaction: the plan has no factorial"]
        wrong = [
            f"interaction: {a!r} is no axis of a factorial; {nearest(a, axes)}"
            for a in self.interaction
            if a not in axes
        ]
        return wrong or [f"interaction: no factorial has both {' and '.join(self.interaction)}"]

    def _term(self, cells: factorial.Cells) -> Term:
        return tuple(sorted(cells.axes.index(axis) for axis in self.interaction))

    def test(self, rows: Sequence[Row], base: Mapping[str, Any], table: Table) -> Evidence:
        """A t-test of the interaction in the fit of the whole factorial."""
        cells = factorial.collect(self._design(rows), table, self.nfe)
        if cells.missing:
            missing = f"{len(cells.missing)} of {len(cells.levels)}"
            return Evidence(1.0, 1.0, 0, f"{missing} rows of the factorial have no result")
        fit = factorial.fit(cells)
        found = fit and fit.of(self._term(cells))
        if not fit or not found:
            return Evidence(1.0, 1.0, 0, "the rows that did not diverge do not determine the interaction")
        known = [ratio for ratio in found.ratios if not math.isnan(ratio)]
        value, *ends = ratios(*known)
        interval = f" [{', '.join(ends)}]" if ends else ""
        n = len(cells.diverged)
        lost = f"; {n} diverged recipe{'s are' if n > 1 else ' is'} left out" if n else ""
        both = " and ".join(cells.axes[i] for i in found.term)
        because = (
            f"FID {value}{interval} with both or neither of {both} changed, compared with one of them{lost}"
        )
        rises, falls = found.tails
        support, against = {"positive": (rises, falls), "negative": (falls, rises)}.get(
            self.sign, (min(rises, falls), 1.0)
        )
        return Evidence(support, against, fit.seeds, because)


def _axes(levels: Mapping[int, Mapping[str, int]]) -> Mapping[str, int]:
    return next(iter(levels.values()))
