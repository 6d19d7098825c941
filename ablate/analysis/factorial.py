"""The factorials of an experiment: their effects, what each axis contributes, and the best combination."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ablate.planning.cells import bases
from ablate.planning.factorial import factorials
from ablate.statistics import factorial as statistics
from ablate.statistics.effect import Sample, Table, compare
from ablate.statistics.factorial import Cells, Fit
from ablate.statistics.importance import shapley
from ablate.statistics.shapley import Way, estimated_ways, ways

if TYPE_CHECKING:
    from ablate.planning.cells import Row


@dataclass(frozen=True)
class Factorial:
    """A factorial with its results. `rows` are those of the experiment, `steps` the ladder of the same experiment.

    whole: how many times as high FID is at `to` as at `from`, where both were measured; else NaN.
    """

    rows: Sequence[Row]
    cells: Cells
    steps: dict[str, float]
    whole: float = math.nan

    @cached_property
    def fit(self) -> Fit | None:
        """Main effects and two-way interactions; None while too few cells are finished to separate them."""
        return statistics.fit(self.cells)

    @cached_property
    def ways(self) -> list[Way]:
        """What each axis contributes; exact if the design is full and complete, else its main effect."""
        estimated = estimated_ways(self.cells, self.fit, self.steps) if self.fit else []
        return ways(self.cells) or estimated

    @cached_property
    def variance_shares(self) -> dict[str, float]:
        """Shapley effects: the share of each axis in the variance between rows; empty unless full and complete."""
        if not self.cells.complete:
            return {}
        points = [(row, log) for row, by_seed in self.cells.logs.items() for log in by_seed.values()]
        factors = [dict(zip(self.cells.axes, self.cells.levels[row], strict=True)) for row, _ in points]
        return shapley(factors, [log for _, log in points])

    @property
    def measured(self) -> dict[int, float]:
        """The geometric mean of FID of every row in the fit."""
        return {row: math.exp(sum(by.values()) / len(by)) for row, by in self.cells.logs.items()}

    @property
    def ends(self) -> tuple[str, str]:
        """The names of `from` and `to`."""
        return self.rows[min(self.cells.levels)].base, self.label((1,) * len(self.cells.axes))

    def label(self, levels: Sequence[int]) -> str:
        """The label of a combination, which may not be a row of the experiment."""
        for i, of_row in self.cells.levels.items():
            if of_row == tuple(levels):
                return self.rows[i].named
        changed = [axis for axis, level in zip(self.cells.axes, levels, strict=True) if level > 0]
        return " + ".join([self.rows[min(self.cells.levels)].base, *changed])


def found(rows: Sequence[Row], table: Table) -> list[Factorial]:
    """The factorials of some rows, by their one-step FID."""
    steps, of = _ladder(rows, table), bases(rows, [row.recipe.flat() for row in rows])
    return [
        Factorial(rows, statistics.collect(levels, table), steps, _whole(levels, of, table))
        for levels in factorials(rows)
    ]


def _whole(levels: Mapping[int, Mapping[str, int]], of: Sequence[int | None], table: Table) -> float:
    """The change of the last row against its base, as in the table of results; a fraction may lack one of the two."""
    last = next((row for row, by in levels.items() if min(by.values()) > 0), None)
    base = None if last is None else of[last]
    pair = None if last is None or base is None else compare([(Sample(last, 1), Sample(base, 1))], table)
    return pair.ratio if pair and not pair.lost else math.nan


def _ladder(rows: Sequence[Row], table: Table) -> dict[str, float]:
    """The step of each axis, in log FID, in the first ladder of the profile's budget."""
    steps, before = dict[str, float](), -1
    for i, row in enumerate(rows):
        if row.section == "ladder" and not row.tuned and row.budget == 1:
            axes = {name.split(".")[0] for name in row.changed}
            pair = compare([(Sample(i, 1), Sample(before, 1))], table) if before >= 0 else None
            if len(axes) == 1 and pair and 0 < pair.ratio < math.inf:
                steps.setdefault(axes.pop(), math.log(pair.ratio))
            before = i
    return steps
