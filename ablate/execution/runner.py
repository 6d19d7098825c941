"""Computes the missing cells of an experiment, through a scheduler."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.core.files import read_json, write_json
from ablate.execution.command import POLL_S
from ablate.execution.progress import Progress
from ablate.execution.scheduler import TIME_IS_UP, CellEnd, Follow, Scheduler
from ablate.planning.cells import Cell
from ablate.planning.experiment import Experiment
from ablate.runs.store import NAMED, Folder, Store

OnSeeds = Callable[[int, Callable[[str], None]], None]
STATES = ("finished", "diverged", "failed", "crashed", "interrupted", "open")


@dataclass
class Outcome:
    """How the cells ended: key -> finished, diverged or failed; without a record crashed, interrupted or open."""

    states: dict[str, str] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)  # of the cells without a result

    @property
    def failed(self) -> list[str]:
        """Keys of the cells that have no result."""
        return [key for key, state in self.states.items() if state in STATES[2:]]

    @property
    def late(self) -> list[str]:
        """Keys of the cells that are left because time is up."""
        return [key for key, reason in self.reasons.items() if reason == TIME_IS_UP]

    def counts(self) -> dict[str, float]:
        """The number of cells in each state; the others than the first three are left out where there are none."""
        count = {state: float(list(self.states.values()).count(state)) for state in STATES}
        return {state: n for state, n in count.items() if n or state in STATES[:3]}

    def join(self, later: Outcome) -> None:
        """Add the cells that were computed since."""
        self.states |= later.states
        self.computed += later.computed
        self.reasons |= later.reasons

    def add(self, end: CellEnd) -> None:
        """Note the end of a cell."""
        key = end.cell.key
        self.states[key] = end.state
        self.computed += [key] if end.record and end.computed else []
        if end.state in STATES[2:]:
            self.reasons[key] = end.reason


def missing(experiment: Experiment, store: Store, retry_failed: bool = False) -> tuple[list[Cell], Outcome]:
    """The cells to compute, the first seed of all rows before the second seed; and how the others ended.

    Args:
        retry_failed: remove the records of cells that failed.
    """
    records = {key: store.record(key) for key in experiment.all_cells}
    if retry_failed:
        for key in [k for k, r in records.items() if r and r["state"] == "failed"]:
            store.folder(key).record.unlink()
            records[key] = None
    outcome = Outcome({key: r["state"] for key, r in records.items() if r})
    outcome.reasons = {key: r.get("reason", "") for key, r in records.items() if r and r["state"] == "failed"}
    rows = {key: cell for key, cell in experiment.cells.items() if not records[key]}
    needed = {need.key: need for cell in rows.values() for need in _unrecorded(cell, records)}
    cells = {**needed, **rows}.values()
    return sorted(cells, key=lambda cell: experiment.seeds.index(cell.seed)), outcome


def _unrecorded(cell: Cell, records: Mapping[str, object]) -> Iterator[Cell]:
    """The cells without a record that have to be computed before a cell, in this order."""
    for need in cell.needs.values():
        if not records[need.key]:
            yield from _unrecorded(need, records)
            yield need


def run(
    experiment: Experiment,
    store: Store,
    make_scheduler: Callable[[Store, Follow, int], Scheduler],
    follow: Follow = lambda folder, running: None,
    retry_failed: bool = False,
    on_seeds: OnSeeds = lambda seeds, show: None,
) -> Outcome:
    """Compute what is missing of an experiment.

    Args:
        make_scheduler: store, follow, number of cells -> scheduler; called only if there are cells to compute.
        follow: called with the folder of every cell that starts (True) or ends (False).
        retry_failed: compute cells that failed once more.
        on_seeds: called while cells are left, each time one more seed of all rows has ended, with the number of such
            seeds and a function that prints above the progress bars.
    """
    cells, outcome = missing(experiment, store, retry_failed)
    name(experiment, store)
    if not cells:
        return outcome
    by_path = {store.folder(cell.key).path: cell for cell in cells}
    with Progress(len(cells), experiment.rows) as progress, terminated():
        for key, label in experiment.labels().items():
            progress.name(label, [key])

        def show(folder: Folder, running: bool) -> None:
            if running:
                cell = by_path[folder.path]
                progress.start(folder, cell)
                _name(folder, experiment, progress.labels.get(cell.key, ""))
            follow(folder, running)

        scheduler = make_scheduler(store, show, len(cells))
        for cell in cells:
            scheduler.add(cell)
        seeds = 0
        for end in itertools.chain([None], as_completed(scheduler, progress.update)):
            if end:
                progress.end(end)
                outcome.add(end)
            if scheduler.busy and (now := whole_seeds(experiment, outcome.states)) > seeds:
                seeds = now
                on_seeds(seeds, progress.print)
    return outcome


def name(experiment: Experiment, store: Store) -> None:
    """Note in the folders of the recorded cells what they are called now: perhaps they had another label before."""
    for key, label in experiment.labels().items():
        if store.folder(key).recorded:
            _name(store.folder(key), experiment, label)


def _name(folder: Folder, experiment: Experiment, label: str) -> None:
    """Note the experiment and the row of a cell in its folder."""
    named = {"experiment": experiment.name, "row": label}
    if read_json(folder.path / NAMED) != named:
        with suppress(OSError):  # the worker says what is wrong with the disk
            write_json(folder.path / NAMED, named)


def whole_seeds(experiment: Experiment, ended: Collection[str]) -> int:
    """How many of the first seeds have ended in all their rows."""
    waiting = {cell.seed for key, cell in experiment.cells.items() if key not in ended}
    return next((n for n, seed in enumerate(experiment.seeds) if seed in waiting), len(experiment.seeds))


def as_completed(scheduler: Scheduler, between: Callable[[], Any] = lambda: None) -> Iterator[CellEnd]:
    """The ends of a scheduler's cells as they come; an exception stops the workers before it propagates."""
    try:
        while scheduler.busy:
            yield from scheduler.poll()
            between()
            if scheduler.busy:
                time.sleep(POLL_S)
    except BaseException:
        scheduler.cancel()
        raise


@contextmanager
def terminated() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C: running cells save and stop."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def format_outcome(outcome: Outcome, folder: Path) -> str:
    """What `run` prints at its end: cells without a result and why, counts, where the report is."""
    counts = ", ".join(f"{n:.0f} {state}" for state, n in outcome.counts().items() if n)
    late = outcome.late
    lines = [f"{len(late)} of {len(outcome.states)} cells are left: {TIME_IS_UP}"] if late else []
    lines += [
        f"{outcome.states[key]} {key}: {why}" for key, why in outcome.reasons.items() if key not in late
    ]
    last = f"{counts} ({len(outcome.computed)} computed now); the report is {folder / 'index.html'}"
    return "\n".join([*lines[:20], *([f"... and {len(lines) - 20} more"] if len(lines) > 20 else []), last])
