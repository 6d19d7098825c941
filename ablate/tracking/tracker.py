"""MLflow as a live view of the records: one process reads what workers write and sends what is new.

Only this module imports mlflow, at its first use. Training never waits for the view, which can be rebuilt.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ablate.core import hint
from ablate.core.errors import SpecError
from ablate.tracking import names, unsent, view
from ablate.tracking.backend import Backend
from ablate.tracking.mirror import Mirror
from ablate.tracking.unsent import MODEL, Sent

LOOPBACK = "http://127.0.0.1:5000"  # where `ablate ui` serves by default
NOTE, OWN = "mlflow.note.content", "ablate.note"  # a description, and the checksum of the one set here
PAUSE = 30.0  # seconds between a failure and the next attempt
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the default of seven takes four minutes to notice that a server is down
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # extra processes, for features that are not used here
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",  # a pooled connection would keep writing into a deleted file
}


def environment() -> dict[str, str]:
    """The variables to set for MLflow where you have not; it cannot be imported by a user without a home."""
    try:
        Path.home()
    except RuntimeError:
        return {**ENVIRONMENT, "HOME": tempfile.gettempdir()}
    return ENVIRONMENT


@functools.cache
def load_mlflow() -> Any:
    """The mlflow module; its import takes seconds and reads the environment."""
    for name, value in environment().items():
        os.environ.setdefault(name, value)
    mlflow = importlib.import_module("mlflow")
    for noisy in ("mlflow", "urllib3.connectionpool"):  # `Tracker.problem` reports a failure once
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    return mlflow


def first_line(error: Exception) -> str:
    """The first line of an error, without passwords."""
    words = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return Backend.masked(words)[:300]


@contextmanager
def reported(about: str) -> Iterator[None]:
    """Turn any error of a store into a SpecError of one line."""
    try:
        yield
    except Exception as error:
        raise SpecError(f"{about}: {first_line(error)}") from None


class Tracker:
    """Shows one experiment at a time in MLflow; errors of MLflow are stored in `problem`, never raised.

    Args:
        runs: the folder of the cells.
        uri: the tracking URI; a database in `runs` by default.
        check: ask the store whether it still has each run, instead of trusting the notes.
    Attributes:
        problem: the first failure as one line, or None.
    """

    def __init__(self, runs: Path, uri: str | None = None, check: bool = False):
        self.runs, self.backend, self.check = runs.resolve(), Backend(runs, uri), check
        self.problem: str | None = None
        self._resume = -PAUSE
        self.open("ablate", {}, [])

    def open(self, experiment: str, tags: Mapping[str, str], files: Sequence[Path]) -> None:
        """Switch to an experiment; it and its parent run are created once there is something to show."""
        self._experiment, self._tags, self._files = experiment, dict(tags), list(files)
        self._view = f"{self.backend}|{experiment}"
        self._parent: Mirror | None = None
        self._place = ""  # MLflow's id of the experiment, once known
        self._known: set[str] = set()  # runs that the store has for sure

    def is_current(self, folder: Path, tags: Mapping[str, str] | None = None, running: bool = False) -> bool:
        """Whether the view has everything of a cell; it reads only the folder and imports no mlflow."""
        if unsent.read(folder / "config.json") is None:
            return True
        sent = Sent.load(folder, self._view)
        if sent.store != self.backend.identity() or (self.check and sent.run not in self._known):
            return False
        return sent.covers(folder, tags or {}, running)

    def update(self, folder: Path, tags: Mapping[str, str], running: bool) -> None:
        """Bring a cell's run up to date; a cell without record and worker is shown as killed."""
        self._attempt(lambda: self._update(folder, tags, running))

    def model(self, folder: Path) -> str | None:
        """Log the model of a cell that has a run; takes seconds, or nothing if MLflow has the model already.

        Returns:
            Why this cell has no model, in one line; None if it has one or if MLflow failed.
        """
        sent = Sent.load(folder, self._view)
        if sent.model or not sent.run or not (folder / MODEL).exists():
            return None
        with tempfile.TemporaryDirectory() as place:
            try:
                saved = save_model(folder.parent, folder.name, Path(place) / "model")
            except Exception as error:  # the exporter can raise anything on an unusual network
                return f"cell {folder.name}: no MLflow model can be made of it: {first_line(error)}"
            self._attempt(lambda: self._model(folder, sent, saved))
        return None

    def close(
        self, files: Sequence[Path], metrics: Mapping[str, float], state: str, description: str = ""
    ) -> None:
        """End the parent run with the report's files (or folders), numbers and text; does nothing if it has them."""
        self._attempt(lambda: self._close(files, metrics, state, description))

    def link(self) -> str | None:
        """A line with the address of the experiment's runs; None if they are not all there."""
        if self.problem or not self._place:
            return None
        if self.backend.remote:
            return f"MLflow: {view.address(str(self.backend).rstrip('/'), self._place)}"
        ui = hint.command("ui", keep=(hint.RUNS, hint.TRACKING))
        return f"MLflow, while {ui} is open: {view.address(LOOPBACK, self._place)}"

    def _attempt(self, action: Callable[[], object]) -> None:
        if time.monotonic() < self._resume:
            return
        try:
            action()
        except Exception as error:
            self.problem = self.problem or f"MLflow at {self.backend}: {first_line(error)}"
            self._resume = time.monotonic() + PAUSE

    def _update(self, folder: Path, tags: Mapping[str, str], running: bool) -> None:
        if self.is_current(folder, tags, running):
            return
        with self.backend.lock():
            parent, config = self._opened(), unsent.read(folder / "config.json")
            run = Mirror(load_mlflow(), parent.client, folder, self._view, Sent.load(folder, self._view))
            tags = self._named(config, tags)
            if run.sent.run not in self._known and not run.exists():
                self._discard(parent.client, config["key"])
                run.create(self._place, tags, unsent.began(folder))
            self._known.add(run.sent.run)
            run.sent.store = parent.sent.store
            run.follow(config, tags, running)
            self._report(run)

    def _report(self, run: Mirror) -> None:
        """Keep what MLflow refused of a run as the problem."""
        if run.refused:
            self.problem = self.problem or f"MLflow at {self.backend}: {run.refused}"

    def _model(self, folder: Path, sent: Sent, saved: Path) -> None:
        with self.backend.lock():
            run = Mirror(load_mlflow(), self._opened().client, folder, self._view, sent)
            run.model(self._place, saved)

    def _named(self, config: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, str]:
        row, seed = tags.get("row", config["key"]), str(config["seed"])
        own = {"ablate.key": config["key"], "ablate.experiment": self._experiment, "row": row, "seed": seed}
        name = {"profile": config["profile"]["name"], "mlflow.runName": f"{row} · seed {seed}"}
        return {**own, **name, **tags}

    def _find(self, client: Any, tag: str, value: str) -> list[str]:
        runs = client.search_runs([self._place], f"tags.`{tag}` = '{value}'")
        return [run.info.run_id for run in runs]

    def _discard(self, client: Any, key: str) -> None:
        """Delete runs of a cell that no notes mention; not in a shared store, which may have runs of others."""
        for run in self._find(client, "ablate.key", key) if self.backend.owned else ():
            client.delete_run(run)

    def _opened(self) -> Mirror:
        """The parent run; created again if the store was deleted meanwhile."""
        mlflow, backend = load_mlflow(), self.backend
        backend.create(mlflow)
        if self._parent and self._parent.sent.store == backend.identity():
            return self._parent
        client = mlflow.MlflowClient(backend.uri)
        self._place, self._known = backend.experiment(client, self._experiment), set()
        if view.TAG not in client.get_experiment(self._place).tags:  # you may have changed it there
            client.set_experiment_tag(self._place, view.TAG, view.saved())
        parent = Mirror(mlflow, client, self.runs, self._view, Sent.load(self.runs, self._view))
        tags = {"mlflow.runName": self._experiment, "ablate.parent": "true"} | self._tags
        if known := self._find(client, "ablate.parent", "true"):
            parent.sent = Sent(run=known[0])
            parent.tags(tags)
        else:
            parent.create(self._place, tags, int(time.time() * 1000))
        parent.sent.store = backend.identity()
        parent.set_state("running")
        parent.artifacts(self._files)
        parent.save()
        self._parent = parent
        return parent

    def _describe(self, parent: Mirror, text: str) -> None:
        """Describe the experiment and its own run, unless a person has written a description."""
        client, run = parent.client, parent.sent.run
        experiment = client.get_experiment(self._place).tags, partial(client.set_experiment_tag, self._place)
        for tags, set_tag in (experiment, (client.get_run(run).data.tags, partial(client.set_tag, run))):
            if text and tags.get(OWN, _mark("")) == _mark(tags.get(NOTE, "")):
                set_tag(NOTE, text)
                set_tag(OWN, _mark(text))

    def _close(
        self, files: Sequence[Path], metrics: Mapping[str, float], state: str, description: str
    ) -> None:
        # with the view, so that stores of older versions get it
        numbers = sorted(metrics.items()), sorted(self._tags.items()), state, description, view.TAG
        content = unsent.checksum([*self._files, *files], numbers)
        sent = Sent.load(self.runs, self._view)
        current = (sent.store, sent.content, sent.state) == (self.backend.identity(), content, state)
        if current and not self._parent and not self.check:
            return
        with self.backend.lock():
            parent, now = self._opened(), int(time.time() * 1000)
            parent.artifacts(files)
            known = names.accepted(metrics)
            parent.metrics((known[name], value, now, 0) for name, value in metrics.items())
            self._describe(parent, description)
            parent.set_state(state)
            parent.sent.content = content
            parent.save()
            self._parent = None
            self._report(parent)


def _mark(text: str) -> str:
    return str(zlib.crc32(text.encode()))


def save_model(runs: Path, key: str, folder: Path) -> Path:
    """Write a finished cell as an MLflow model into `folder`, which must be empty or not exist.

    Raises:
        SpecError: no such cell, a cell without weights, or a folder that cannot be written or is not empty.
    """
    from ablate.inference.model import load
    from ablate.runs.store import Store
    from ablate.tracking import models

    model = load(Store(runs), key)
    if folder.is_dir() and any(folder.iterdir()):
        raise SpecError(f"{folder}: it is not empty")
    try:
        models.save(load_mlflow(), model, folder)
    except OSError as error:
        raise SpecError(f"{folder}: {(error.strerror or str(error)).lower()}") from None
    return folder
