"""What the records of an experiment say. Each part is computed once, when you first ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.analysis import budgets, factorial, verdicts
from ablate.analysis import frame as frames
from ablate.analysis import lines as rows
from ablate.analysis.budgets import Seen, Track
from ablate.analysis.factorial import Factorial
from ablate.analysis.frame import Column, Records
from ablate.analysis.lines import Line
from ablate.analysis.verdicts import Verdict, Versus
from ablate.statistics.effect import Table

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store


@dataclass(frozen=True)
class Results:
    """An experiment and the store that its cells are read from; `extractor` chooses what they were measured by."""

    experiment: Experiment
    store: Store
    extractor: str = ""
    folder: Path | None = None  # of the report

    @cached_property
    def records(self) -> Records:
        """The record of every cell by key, None where it has none yet."""
        return frames.records(self.experiment, self.store, self.extractor)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One line per row, seed and number of evaluations."""
        return frames.frame(self.experiment, self.records)

    @cached_property
    def lines(self) -> list[Line]:
        """One line per row: its metrics over seeds."""
        return rows.lines(self.experiment, self.frame)

    @cached_property
    def measured(self) -> list[Column]:
        """The columns in which something was measured."""
        return frames.columns(self.frame, ())

    @cached_property
    def scores(self) -> Table:
        """FID by row, number of evaluations and seed; infinite where training diverged."""
        return verdicts.scores(self.frame)

    @cached_property
    def versus(self) -> list[Versus | None]:
        """Every row against its base."""
        return verdicts.versus(self.experiment, self.scores)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """The answers to the experiment's claims; without claims no record is read."""
        return verdicts.answers(self.experiment, self.scores) if self.experiment.claims else []

    @cached_property
    def factorials(self) -> list[Factorial]:
        """The factorials of the plan with their effects."""
        return factorial.found(self.experiment.rows, self.scores)

    @cached_property
    def tracks(self) -> list[Track]:
        """The rows over budgets; empty without `budgets`."""
        return budgets.tracks(self.experiment, self.scores) if self.experiment.budgets else []

    @property
    def of_most_images(self) -> Results:
        """The results at the largest budget that has any; these results without `budgets`."""
        parts = [Results(part, self.store, self.extractor) for part in self.experiment.by_budget()]
        return next((part for part in reversed(parts) if part.measured), self) if self.tracks else self

    @cached_property
    def predictions(self) -> list[Seen]:
        """The effects that were predicted before their budget was computed, with what was seen."""
        # predicted by the first results, so what `evaluate` measured later does not compare
        known = budgets.read(self.folder) if self.folder and self.tracks and not self.extractor else []
        return budgets.seen(self.experiment, self.tracks, known)

    def row_means(self) -> dict[str, float]:
        """Mean one-step FID by label, of every row that has one and lost no seed."""
        first = next((c for c in self.measured if c.nfe == 1), None)
        whole = [line for line in self.lines if line.whole] if first else []
        return {x.row.named: s.mean for x in whole if first and (s := x.stat("fid", first))}

    def metrics(self) -> dict[str, float]:
        """Mean and standard deviation of every row's FID: `fid_1step_mean/ict`, with the row's label as it is."""
        found = dict[str, float]()
        for line in self.lines:
            for column in self.measured:
                if stat := line.stat("fid", column):
                    name, row = column.named("fid"), line.row.named
                    found[f"{name}_mean/{row}"] = stat.mean
                    found |= {f"{name}_std/{row}": stat.std} if stat.n > 1 else {}
        return found
