"""A thread that mirrors cells to MLflow while they run, so a slow or absent server never blocks training."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ablate.analysis.results import Results
from ablate.planning.experiment import Experiment
from ablate.runs import heartbeat
from ablate.runs.record import ENDED
from ablate.runs.store import Folder, Store
from ablate.tracking import summary
from ablate.tracking.tracker import Tracker

EVERY_S = 5.0  # between two updates of running cells
PATIENCE_S = 60.0  # wait for a slow server after the last cell
HASTE_S = 10.0  # wait for it after an interruption

Event = tuple[Folder, bool]  # a cell, and whether it started (True) or ended


class Live:
    """Mirrors an experiment's cells to MLflow; it imports and sends nothing until there is something new."""

    def __init__(self, experiment: Experiment, store: Store, uri: str | None = None):
        self.tracker = Tracker(store.path, uri)
        self.tags = cell_tags(experiment)
        self.ended = {key: store.folder(key) for key in experiment.cells}
        self.running: dict[str, Folder] = {}
        self.events: queue.Queue[Event | None] = queue.Queue()
        self.tracker.open(experiment.name, {"ablate.file": experiment.file.name}, [experiment.file])
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.closing: tuple[list[Path], dict[str, float], str, str] | None = None

    def __enter__(self) -> Live:
        self.thread.start()
        return self

    def add(self, folder: Folder, tags: dict[str, str]) -> None:
        """Add a cell that the experiment did not have at the start."""
        self.tags.setdefault(folder.key, tags)
        self.ended = {**self.ended, folder.key: folder}  # a new dict: the thread may iterate over the old one

    def follow(self, folder: Folder, running: bool) -> None:
        """Note that a cell started (running=True) or ended."""
        self.events.put((folder, running))

    def close(
        self, files: Sequence[Path], metrics: dict[str, float], state: str, results: Results | None = None
    ) -> None:
        """Set what MLflow gets at the end: report files, counts, state; of results, the table and rows' means."""
        if results:
            means = summary.over_seeds(results)
            self.tags = {key: tags | means.get(key, {}) for key, tags in self.tags.items()}
        self.closing = list(files), metrics, state, summary.description(results) if results else ""

    def link(self) -> str | None:
        """A line with the address of the experiment in MLflow; None if it does not have everything yet."""
        return None if self.thread.is_alive() else self.tracker.link()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.events.put(None)
        left = self.closing is None or self.closing[2] == "interrupted"
        self.thread.join(HASTE_S if left else PATIENCE_S)
        problem = "it takes too long" if self.thread.is_alive() else self.tracker.problem
        if problem:
            print(f"MLflow is behind, the next run brings it up to date: {problem}", file=sys.stderr)

    def _serve(self) -> None:
        """The thread: handle events as they come, and update running cells every few seconds."""
        while True:
            try:
                event = self.events.get(timeout=EVERY_S if self.running else None)
            except queue.Empty:
                for folder in list(self.running.values()):
                    self._show(folder, True)
                continue
            if event is None:
                break
            folder, running = event
            self.running.pop(folder.key, None)
            if running:
                self.running[folder.key] = folder
            else:
                self._show(folder, False)
        for folder in self.ended.values():  # including what earlier runs could not send
            if folder.config.exists():
                self._show(folder, False)
        if self.closing:
            self.tracker.close(*self.closing)

    def _show(self, folder: Folder, running: bool) -> None:
        with suppress(OSError):  # the folder may be removed meanwhile
            if not self.tracker.is_current(folder.path, self.tags[folder.key], running):
                self.tracker.update(folder.path, self.tags[folder.key], running)


def sync(results: Results, uri: str | None, report: Path, models: bool = False) -> tuple[int, list[str]]:
    """Bring an experiment's cells up to date in MLflow now.

    It stops at the first error of MLflow. A network that cannot become a model does not stop the others.

    Args:
        report: the folder of its report, logged to the experiment's own run if it exists.
        models: also log the model of every finished cell, which takes seconds each.
    Returns:
        How many cells are up to date, and the problems, one line each.
    """
    experiment, store = results.experiment, results.store
    tracker = Tracker(store.path, uri, check=True)
    means = summary.over_seeds(results)
    tags = {key: tags | means.get(key, {}) for key, tags in cell_tags(experiment).items()}
    tracker.open(experiment.name, {"ablate.file": experiment.file.name}, [experiment.file])
    folders = [store.folder(key) for key in experiment.cells if store.folder(key).config.exists()]
    for n, folder in enumerate(folders):
        running = not folder.recorded and heartbeat.state(folder) == "running"
        tracker.update(folder.path, tags[folder.key], running)
        if tracker.problem:
            return n, [tracker.problem]
    problems = []
    for folder in folders if models else ():
        if problem := tracker.model(folder.path):
            problems.append(problem)
        if tracker.problem:  # each export takes seconds, and could not be sent
            return len(folders), [*problems, tracker.problem]
    records = [r for r in map(store.record, experiment.cells) if r]
    counted = {s: float(sum(r["state"] == s for r in records)) for s in ENDED}
    complete = len(records) == len(experiment.cells) and not counted["failed"]
    if folders:
        files, state = [report] if report.is_dir() else [], "finished" if complete else "failed"
        tracker.close(files, counted | results.metrics(), state, summary.description(results))
    return len(folders), [*problems, *([tracker.problem] if tracker.problem else [])]


def cell_tags(experiment: Experiment) -> dict[str, dict[str, str]]:
    """MLflow tags by key: the first row with this cell, what the row changed, section, seed, profile."""
    tags: dict[str, dict[str, str]] = {}
    for row in experiment.rows:
        for seed, key in zip(experiment.seeds, row.keys, strict=False):
            named = {
                "row": row.named,
                "section": row.section,
                "seed": str(seed),
                "profile": experiment.profile.name,
            }
            tags.setdefault(key, named | {"changed": ", ".join(row.changed)})
    labels = experiment.labels()
    for key, cell in experiment.needed.items():
        named = {"row": labels[key], "section": "needed", "seed": str(cell.seed)}
        tags[key] = named | {"profile": experiment.profile.name, "changed": ""}
    return tags
