"""An experiment's cells through an executor: what is finished costs nothing, one bad cell stops nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.executors.local import Local
from ablate.machine import cores, devices
from ablate.plan import Cell, Experiment
from ablate.progress import Progress
from ablate.record import BUSY, blank
from ablate.store import Folder, Store, read_json, write_json

POLL_S = 0.1
Follow = Callable[[Folder, bool], None]


@dataclass
class Outcome:
    """How the cells ended: key -> finished, diverged, failed."""

    states: dict[str, str] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        """Keys of the cells that have no result."""
        return [key for key, state in self.states.items() if state == "failed"]

    def counts(self) -> dict[str, float]:
        """How many cells ended how."""
        return {
            state: float(list(self.states.values()).count(state))
            for state in ("finished", "diverged", "failed")
        }


def defaults(experiment: Experiment, workers: int | None, found: list[str]) -> tuple[int, int]:
    """Workers, and threads of each: one worker per GPU or per core, no more threads than cores."""
    workers = workers or (cores() if found == ["cpu"] else len(found))
    threads = experiment.profile.threads or max(1, cores() // workers)
    return workers, threads


def run(
    experiment: Experiment,
    store: Store,
    follow: Follow = lambda folder, running: None,
    workers: int | None = None,
    retry_failed: bool = False,
) -> Outcome:
    """Compute what is missing of an experiment, at most `workers` cells at a time.

    Args:
        follow: told of every cell that starts (True) or ends (False).
        retry_failed: compute cells that failed once more.
    """
    records = {key: store.record(key) for key in experiment.cells}
    if retry_failed:
        for key in [k for k, r in records.items() if r and r["state"] == "failed"]:
            store.folder(key).record.unlink()
            records[key] = None
    outcome = Outcome({key: r["state"] for key, r in records.items() if r})
    missing = deque(cell for key, cell in experiment.cells.items() if not records[key])
    if missing:
        found = devices()
        count, threads = defaults(experiment, workers, found)
        pool = Local(_work, min(count, len(missing)), found, threads, preload=("ablate.cell",))
        _drain(pool, missing, store, outcome, follow)
    return outcome


def _work(folder: str, device: str, threads: int) -> None:
    """What a worker runs; its heavy imports are in the server that forks it, not in the parent."""
    from ablate.cell import work

    work(folder, device, threads)


def _drain(pool: Local, missing: deque[Cell], store: Store, outcome: Outcome, follow: Follow) -> None:
    with Progress(len(missing)) as progress:
        try:
            waiting_until = 0.0
            while missing or pool.running:
                while missing and pool.free() and time.monotonic() >= waiting_until:
                    cell = missing.popleft()
                    folder = store.prepare(cell)
                    pool.submit(folder.path)
                    progress.start(folder, cell)
                    follow(folder, True)
                time.sleep(POLL_S)
                progress.update()
                for path, code in pool.ended().items():
                    folder = Folder(path)
                    record = store.record(folder.key)
                    if code == BUSY and not record:  # another run computes it: ask again in a while
                        missing.append(progress.requeue(folder))
                        waiting_until = time.monotonic() + 1.0
                        continue
                    record = record or _crashed(folder, code)
                    outcome.states[folder.key] = record["state"]
                    outcome.computed += [folder.key] if code != BUSY else []
                    progress.end(folder, record)
                    follow(folder, False)
        except BaseException:
            pool.cancel()
            for path in list(pool.running):
                follow(Folder(path), False)
            raise


def _crashed(folder: Folder, code: int) -> dict[str, Any]:
    """The record of a cell whose process ended without one."""
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    record = blank(
        read_json(folder.config), "failed", f"the worker ended with {how}; its log is {folder.log}"
    )
    write_json(folder.record, record)
    return record


def closing(outcome: Outcome, folder: Path) -> str:
    """The last words of `run`."""
    told = ", ".join(f"{n:.0f} {state}" for state, n in outcome.counts().items() if n)
    return f"{told} ({len(outcome.computed)} computed now); the report is {folder / 'table.md'}"
