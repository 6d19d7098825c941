"""MLflow kept up to date while cells run, by a thread of its own: a slow or absent server delays nobody."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ablate.planning.experiment import Experiment
from ablate.runs import heartbeat
from ablate.runs.store import Folder, Store
from ablate.tracking.tracker import Tracker

EVERY_S = 5.0  # between two looks at the cells that run
PATIENCE_S = 60.0  # for a slow server, when everything else is done
HASTE_S = 10.0  # when somebody wants to leave

Order = tuple[Folder, bool]


class Live:
    """Shows an experiment's cells in MLflow; nothing is imported or sent while there is nothing new."""

    def __init__(self, experiment: Experiment, store: Store, uri: str | None = None):
        self.tracker = Tracker(store.path, uri)
        self.tags = cell_tags(experiment)
        self.ended = {key: store.folder(key) for key in experiment.cells}
        self.running: dict[str, Folder] = {}
        self.orders: queue.Queue[Order | None] = queue.Queue()
        self.tracker.open(experiment.name, {"ablate.file": experiment.file.name}, [experiment.file])
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.closing: tuple[list[Path], dict[str, float], str] | None = None

    def __enter__(self) -> Live:
        self.thread.start()
        return self

    def add(self, folder: Folder, tags: dict[str, str]) -> None:
        """A cell more than the experiment had when this began."""
        self.tags.setdefault(folder.key, tags)
        self.ended = {**self.ended, folder.key: folder}  # the thread may be reading the old one

    def follow(self, folder: Folder, running: bool) -> None:
        """A cell started (True) or ended."""
        self.orders.put((folder, running))

    def close(self, files: Sequence[Path], metrics: dict[str, float], state: str) -> None:
        """What the experiment's own run shows at its end: report files, counts, how it ended."""
        self.closing = list(files), metrics, state

    def comparison(self, keys: Sequence[str]) -> str | None:
        """Where MLflow's pages compare these cells; None while it does not have them."""
        folders = [self.ended[key].path for key in dict.fromkeys(keys) if key in self.ended]
        return None if self.thread.is_alive() else self.tracker.comparison(folders)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.orders.put(None)
        left = self.closing is None or self.closing[2] == "interrupted"
        self.thread.join(HASTE_S if left else PATIENCE_S)
        problem = "it takes too long" if self.thread.is_alive() else self.tracker.problem
        if problem:
            print(f"MLflow is behind, the next run brings it up to date: {problem}", file=sys.stderr)

    def _serve(self) -> None:
        """The thread: orders as they come, and every few seconds a look at what runs."""
        while True:
            try:
                order = self.orders.get(timeout=EVERY_S if self.running else None)
            except queue.Empty:
                for folder in list(self.running.values()):
                    self._show(folder, True)
                continue
            if order is None:
                break
            folder, running = order
            self.running.pop(folder.key, None)
            if running:
                self.running[folder.key] = folder
            else:
                self._show(folder, False)
        for folder in self.ended.values():  # also what earlier runs could not send
            if folder.config.exists():
                self._show(folder, False)
        if self.closing:
            self.tracker.close(*self.closing)

    def _show(self, folder: Folder, running: bool) -> None:
        with suppress(OSError):  # a folder that somebody removes meanwhile
            if not self.tracker.is_current(folder.path, self.tags[folder.key], running):
                self.tracker.update(folder.path, self.tags[folder.key], running)


def brought(
    experiment: Experiment, store: Store, uri: str | None, report: Path, models: bool = False
) -> tuple[int, list[str]]:
    """Bring an experiment's cells up to date now: how many are, and what went wrong, a line each.

    It ends with the first trouble of MLflow's. A network of which no model can be made hinders no other.

    Args:
        report: the folder of its report, shown with the experiment's own run if it is there.
        models: log the model of every finished cell too, which takes seconds for each.
    """
    tracker, tags = Tracker(store.path, uri, check=True), cell_tags(experiment)
    tracker.open(experiment.name, {"ablate.file": experiment.file.name}, [experiment.file])
    folders = [store.folder(key) for key in experiment.cells if store.folder(key).config.exists()]
    for n, folder in enumerate(folders):
        running = not folder.record.exists() and heartbeat.state(folder) == "running"
        tracker.update(folder.path, tags[folder.key], running)
        if tracker.problem:
            return n, [tracker.problem]
    unmade = []
    for folder in folders if models else ():
        if problem := tracker.model(folder.path):
            unmade.append(problem)
        if tracker.problem:  # an export takes seconds, and nobody would get the others
            return len(folders), [*unmade, tracker.problem]
    records = [r for r in map(store.record, experiment.cells) if r]
    counted = {s: float(sum(r["state"] == s for r in records)) for s in ("finished", "diverged", "failed")}
    whole = len(records) == len(experiment.cells) and not counted["failed"]
    if folders:
        tracker.close([report] if report.is_dir() else [], counted, "finished" if whole else "failed")
    return len(folders), [*unmade, *([tracker.problem] if tracker.problem else [])]


def cell_tags(experiment: Experiment) -> dict[str, dict[str, str]]:
    """What groups a cell's MLflow run: the first row it stands in, what that row changed, seed, profile."""
    tags: dict[str, dict[str, str]] = {}
    for row in experiment.rows:
        for seed, key in zip(experiment.seeds, row.keys, strict=False):
            named = {
                "row": row.label,
                "section": row.section,
                "seed": str(seed),
                "profile": experiment.profile.name,
            }
            tags.setdefault(key, named | {"changed": ", ".join(row.changed)})
    return tags
