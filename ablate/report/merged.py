"""What a report shows: the runs, and what only its own records file still has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablate.analysis.results import Results
from ablate.planning import tuning
from ablate.planning.cells import Row
from ablate.planning.experiment import Experiment
from ablate.runs import records_file
from ablate.runs.store import Store


class WithRecords(Store):
    """The runs, and the lines of records files for cells that the runs do not have."""

    def __init__(self, runs: Path, files: Sequence[Path]):
        super().__init__(runs)
        self.files = {file: records_file.read(file) for file in files}
        self.lines = {key: line for lines in self.files.values() for key, line in lines.items()}

    def record(self, key: str) -> dict[str, Any] | None:
        """The record of cell `key`, or None."""
        return super().record(key) or self.lines.get(key, {}).get("record")


def merged(experiment: Experiment, store: Store, folder: Path, extractor: str = "") -> Results:
    """The results of a report in `folder`: its rows have all seeds that it ever had, whatever was asked for now."""
    both = WithRecords(store.path, [folder / records_file.FILE])
    experiment = tuning.known(experiment, store.path, folder)
    return Results(_with_seeds(experiment, both), both, extractor, folder)


def _with_seeds(experiment: Experiment, store: WithRecords) -> Experiment:
    """The experiment with further seeds, as far as the records have them for its rows."""
    if not experiment.cells:
        return experiment
    cell = experiment.cell
    recorded = {line["record"]["seed"] for line in store.lines.values()} - {*experiment.seeds}
    more = {seed for seed in recorded if any(cell(row, seed).key in store.lines for row in experiment.rows)}
    if not more:
        return experiment
    every, rows, cells = sorted({*experiment.seeds, *more}), list[Row](), dict(experiment.cells)
    for row in experiment.rows:
        planned = [cell(row, seed) for seed in every]
        known = {*row.keys, *store.lines}
        # a row's seeds are the first of the experiment's, so there may be gaps between them
        planned = planned[: max(at for at, one in enumerate(planned, 1) if one.key in known)]
        rows.append(replace(row, keys=tuple(one.key for one in planned)))
        cells |= {one.key: one for one in planned}
    longest = max(len(row.keys) for row in rows)
    return replace(experiment, seeds=tuple(every[:longest]), rows=rows, cells=cells)
