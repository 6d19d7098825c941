"""What it takes to decide an open claim: seeds, the time of their cells, and the command."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice

from ablate.analysis.results import Results
from ablate.analysis.verdicts import Verdict
from ablate.core.formats import duration
from ablate.planning import tuning
from ablate.planning.cells import Row
from ablate.planning.experiment import Experiment

SPELLED = 8  # seeds, beyond which the command with each of them is too long to read


@dataclass(frozen=True)
class SeedsNeeded:
    """Seeds of each row that decide a claim with 80 % power.

    seconds: of one worker, for the cells that are missing, if they take as long as those of their rows did; NaN if a
    row has none. words: of `run` with these seeds. most: the file's own limit, 0 if it has none.
    """

    seeds: int
    seconds: float
    words: tuple[str, ...]
    most: int = 0

    def text(self, command: str = "") -> str:
        """The number, its cost, and the command as you would type it, by default one that begins with `ablate`."""
        found = f"{self.seeds} seeds would decide"
        if not math.isnan(self.seconds):
            found += f", {duration(self.seconds)} more on one worker"
        if self.most and self.seeds > self.most:
            return f"{found}, but the file's `seeds` end at {self.most}"
        if self.seeds > SPELLED and "--seeds" in self.words:
            return found
        return f"{found}: " + (command or f"`{shlex.join(('ablate', 'run', *self.words))}`")


def seeds_needed(results: Results, verdict: Verdict) -> SeedsNeeded | None:
    """What decides a claim; None if it is decided already, or if the number is unknown or above a hundred."""
    experiment, needed = results.experiment, verdict.seeds
    if needed is None:
        return None
    rows, most = experiment.rows, 0
    if experiment.more_seeds:  # only the rows of open claims get them
        rows = [rows[i] for i in sorted(experiment.places(partial(tuning.rows_of, verdict.claim)))]
        most = len({*experiment.seeds, *experiment.more_seeds})
    seconds = sum(_seconds(results, row, needed) for row in {row.keys: row for row in rows}.values())
    return SeedsNeeded(needed, seconds, _words(experiment, needed), most)


def _seconds(results: Results, row: Row, seeds: int) -> float:
    """Of the cells that a row lacks, and of those that they need."""
    cells = [results.experiment.cells[key] for key in row.keys]
    known = [r["wall_s"] for cell in cells if (r := results.records[cell.key]) and r.get("wall_s")]
    needs = [results.store.record(need.key) for cell in cells for need in cell.needs.values()]
    needed = sum(r.get("wall_s") or 0.0 for r in needs if r)
    left = max(0, seeds - len(cells))
    return left * (sum(known) / len(known) + needed / len(cells)) if known else math.nan


def _words(experiment: Experiment, seeds: int) -> tuple[str, ...]:
    origin = experiment.origin
    chosen = [] if origin.own else ["--profile", origin.profile]
    for name, value in origin.overrides.items():
        chosen += ["--set", f"{name}={value}"]
    if not experiment.more_seeds:
        chosen += ["--seeds", ",".join(map(str, islice(_every(experiment), seeds)))]
    return (str(experiment.file), *chosen)


def _every(experiment: Experiment) -> Iterator[int]:
    """The seeds of the experiment, then others that no trial has."""
    taken: Sequence[int] = experiment.tuning.tune.seeds if experiment.tuning else ()
    yield from experiment.seeds
    yield from (seed for seed in count() if seed not in {*experiment.seeds, *taken})
