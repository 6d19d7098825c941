"""An experiment's cells: what is finished costs nothing, the rest goes to a crew of workers."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.execution.progress import Progress
from ablate.execution.scheduler import POLL_S, Crew, Ended, Follow
from ablate.planning.cells import Cell
from ablate.planning.experiment import Experiment
from ablate.runs.store import Store

STATES = ("finished", "diverged", "failed", "crashed", "interrupted")


@dataclass
class Outcome:
    """How the cells ended: key -> finished, diverged, failed; crashed or interrupted where there is no record."""

    states: dict[str, str] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)  # of the cells without a result

    @property
    def failed(self) -> list[str]:
        """Keys of the cells that have no result."""
        return [key for key, state in self.states.items() if state in STATES[2:]]

    def counts(self) -> dict[str, float]:
        """How many cells ended how; the usual ends always, the others where there are any."""
        count = {state: float(list(self.states.values()).count(state)) for state in STATES}
        return {state: n for state, n in count.items() if n or state in STATES[:3]}

    def join(self, later: Outcome) -> None:
        """Take over how the cells ended that were computed since."""
        self.states |= later.states
        self.computed += later.computed
        self.reasons |= later.reasons

    def add(self, ended: Ended) -> None:
        """Note the end of a cell."""
        key = ended.cell.key
        self.states[key] = ended.state
        self.computed += [key] if ended.record and ended.computed else []
        if ended.state in STATES[2:]:
            self.reasons[key] = ended.reason


def missing(experiment: Experiment, store: Store, retry_failed: bool = False) -> tuple[list[Cell], Outcome]:
    """The cells to compute, the first seed of all rows before the second; and how the others ended.

    Args:
        retry_failed: forget the records of cells that failed.
    """
    records = {key: store.record(key) for key in experiment.cells}
    if retry_failed:
        for key in [k for k, r in records.items() if r and r["state"] == "failed"]:
            store.folder(key).record.unlink()
            records[key] = None
    outcome = Outcome({key: r["state"] for key, r in records.items() if r})
    outcome.reasons = {key: r.get("reason", "") for key, r in records.items() if r and r["state"] == "failed"}
    cells = [cell for key, cell in experiment.cells.items() if not records[key]]
    return sorted(cells, key=lambda cell: experiment.seeds.index(cell.seed)), outcome


def run(
    experiment: Experiment,
    store: Store,
    crew_of: Callable[[Store, Follow, int], Crew],
    follow: Follow = lambda folder, running: None,
    retry_failed: bool = False,
) -> Outcome:
    """Compute what is missing of an experiment.

    Args:
        crew_of: store, follow, how many cells there are -> who computes them; called only if there are any.
        follow: told of every cell that starts (True) or ends (False).
        retry_failed: compute cells that failed once more.
    """
    cells, outcome = missing(experiment, store, retry_failed)
    if not cells:
        return outcome
    by_path = {store.folder(cell.key).path: cell for cell in cells}
    with Progress(len(cells)) as progress, terminated():

        def told(folder: Any, running: bool) -> None:
            if running:
                progress.start(folder, by_path[folder.path])
            follow(folder, running)

        crew = crew_of(store, told, len(cells))
        for cell in cells:
            crew.add(cell)
        for ended in drained(crew, progress.update):
            progress.end(ended.folder, ended.cell, ended.state, ended.record, ended.reason)
            outcome.add(ended)
    return outcome


def drained(crew: Crew, between: Callable[[], Any] = lambda: None) -> Iterator[Ended]:
    """The cells of a crew as they end; an interruption stops its workers before it goes on its way."""
    try:
        while crew.busy:
            yield from crew.poll()
            between()
            if crew.busy:
                time.sleep(POLL_S)
    except BaseException:
        crew.cancel()
        raise


@contextmanager
def terminated() -> Iterator[None]:
    """SIGTERM is a Ctrl-C: what runs saves and stops."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def closing(outcome: Outcome, folder: Path) -> str:
    """The last words of `run`."""
    told = ", ".join(f"{n:.0f} {state}" for state, n in outcome.counts().items() if n)
    lines = [f"{outcome.states[key]} {key}: {reason}" for key, reason in outcome.reasons.items()]
    last = f"{told} ({len(outcome.computed)} computed now); the report is {folder / 'table.md'}"
    return "\n".join([*lines[:20], *([f"... and {len(lines) - 20} more"] if len(lines) > 20 else []), last])
