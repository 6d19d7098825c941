"""MLflow as a live view of the records: one process reads what the workers write and passes on what is new.

The only importer of mlflow, at its first use. Training never waits for the view, which can be built again.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ablate.core.errors import SpecError
from ablate.tracking import notes
from ablate.tracking.backend import Backend
from ablate.tracking.mirror import Mirror
from ablate.tracking.notes import MODEL, Sent

LOOPBACK = "http://127.0.0.1:5000"  # where `ablate ui` serves unless told otherwise
MENU = (
    "workflowType=machine_learning"  # of MLflow's pages, which else are those of language models, and empty
)
PAUSE = 30.0  # seconds without another attempt after a failure
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # its seven take four minutes to find that a server is down
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # more processes, for features that nothing here uses
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",  # a pooled connection would write on into a deleted file
}


@functools.cache
def _mlflow() -> Any:
    """mlflow, whose import takes seconds and reads the environment."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    mlflow = importlib.import_module("mlflow")
    for noisy in ("mlflow", "urllib3.connectionpool"):  # a failure is told once, by `Tracker.problem`
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    return mlflow


def line(error: Exception) -> str:
    """What went wrong with a store, in one line that tells no password."""
    words = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return Backend.masked(words)[:300]


@contextmanager
def told(about: str) -> Iterator[None]:
    """Whatever goes wrong with a store, as one line for the user."""
    try:
        yield
    except Exception as error:
        raise SpecError(f"{about}: {line(error)}") from None


class Tracker:
    """Shows one experiment at a time in MLflow; no trouble of MLflow's is ever raised from here.

    Args:
        runs: the folder of the cells.
        uri: MLflow's address of the store; a database in `runs` unless given.
        check: ask the store whether it still has each run, where otherwise the notes are believed.
    Attributes:
        problem: the first failure in one line; None while there was none.
    """

    def __init__(self, runs: Path, uri: str | None = None, check: bool = False):
        self.runs, self.backend, self.check = runs.resolve(), Backend(runs, uri), check
        self.problem: str | None = None
        self._resume = -PAUSE
        self.open("ablate", {}, [])

    def open(self, experiment: str, tags: Mapping[str, str], files: Sequence[Path]) -> None:
        """Turn to an experiment; it and its parent run are made once there is something to show."""
        self._experiment, self._tags, self._files = experiment, dict(tags), list(files)
        self._view = f"{self.backend}|{experiment}"
        self._parent: Mirror | None = None
        self._place = ""  # MLflow's id of the experiment, once it was asked
        self._known: set[str] = set()  # runs that the store was seen to have

    def is_current(self, folder: Path, tags: Mapping[str, str] | None = None, running: bool = False) -> bool:
        """Whether the view has all of a cell; answered from its folder, without mlflow."""
        if notes.read(folder / "config.json") is None:
            return True
        sent = Sent.load(folder, self._view)
        if sent.store != self.backend.identity() or (self.check and sent.run not in self._known):
            return False
        return sent.covers(folder, tags or {}, running)

    def update(self, folder: Path, tags: Mapping[str, str], running: bool) -> None:
        """Bring a cell's run up to date; one that has neither a record nor a worker is shown as killed."""
        self._attempt(lambda: self._update(folder, tags, running))

    def model(self, folder: Path) -> str | None:
        """Log the model of a cell whose run is there already; takes seconds, and is free where MLflow has it.

        Returns:
            Why there is no model of this cell, in one line; None where there is one, or MLflow is the trouble.
        """
        sent = Sent.load(folder, self._view)
        if sent.model or not sent.run or not (folder / MODEL).exists():
            return None
        with tempfile.TemporaryDirectory() as place:
            try:
                saved = save_model(folder.parent, folder.name, Path(place) / "model")
            except Exception as error:  # whatever the exporter says of an unusual network
                return f"cell {folder.name}: no MLflow model can be made of it: {line(error)}"
            self._attempt(lambda: self._model(folder, sent, saved))
        return None

    def close(self, files: Sequence[Path], metrics: Mapping[str, float], state: str) -> None:
        """End the parent run with the report's files (or folders) and numbers; free if it has them."""
        self._attempt(lambda: self._close(files, metrics, state))

    def comparison(self, folders: Sequence[Path]) -> str | None:
        """The address of MLflow's page that compares these cells' runs (a hundred at most); None if it has none."""
        sent = [Sent.load(folder, self._view) for folder in folders[:100]]
        runs = [s.run for s in sent if s.run and s.store == self.backend.identity()]
        if not runs or not self._place:
            return None
        asked = "&".join(
            f"{k}={quote(json.dumps(v))}" for k, v in (("runs", runs), ("experiments", [self._place]))
        )
        asked += f"&{MENU}"
        if self.backend.remote:
            return f"compared in MLflow: {self.backend}/#/compare-runs?{asked}"
        return f"compared in MLflow, while `ablate ui` is open: {LOOPBACK}/#/compare-runs?{asked}"

    def _attempt(self, action: Callable[[], object]) -> None:
        if time.monotonic() < self._resume:
            return
        try:
            action()
        except Exception as error:
            self.problem = self.problem or f"MLflow at {self.backend}: {line(error)}"
            self._resume = time.monotonic() + PAUSE

    def _update(self, folder: Path, tags: Mapping[str, str], running: bool) -> None:
        if self.is_current(folder, tags, running):
            return
        with self.backend.lock():
            parent, config = self._opened(), notes.read(folder / "config.json")
            run = Mirror(_mlflow(), parent.client, folder, self._view, Sent.load(folder, self._view))
            tags = self._named(config, tags) | {"mlflow.parentRunId": parent.sent.run}
            if run.sent.run not in self._known and not run.exists():
                self._discard(parent.client, config["key"])
                run.create(self._place, tags, notes.began(folder))
            self._known.add(run.sent.run)
            run.sent.store = parent.sent.store
            run.follow(config, tags, running)

    def _model(self, folder: Path, sent: Sent, saved: Path) -> None:
        with self.backend.lock():
            run = Mirror(_mlflow(), self._opened().client, folder, self._view, sent)
            run.model(self._place, saved)

    def _named(self, config: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, str]:
        row, seed = tags.get("row", config["key"]), str(config["seed"])
        own = {"ablate.key": config["key"], "ablate.experiment": self._experiment, "row": row, "seed": seed}
        name = {"profile": config["profile"]["name"], "mlflow.runName": f"{row} · seed {seed}"}
        return {**own, **name, **tags}

    def _find(self, client: Any, tag: str, value: str) -> list[str]:
        found = client.search_runs([self._place], f"tags.`{tag}` = '{value}'")
        return [run.info.run_id for run in found]

    def _discard(self, client: Any, key: str) -> None:
        """Delete a cell's runs that nothing notes; only in the own store, a shared one may have another's."""
        for run in self._find(client, "ablate.key", key) if self.backend.owned else ():
            client.delete_run(run)

    def _opened(self) -> Mirror:
        """The parent run; made again if the store was deleted meanwhile."""
        mlflow, backend = _mlflow(), self.backend
        backend.create(mlflow)
        if self._parent and self._parent.sent.store == backend.identity():
            return self._parent
        client = mlflow.MlflowClient(backend.uri)
        self._place, self._known = backend.experiment(client, self._experiment), set()
        parent = Mirror(mlflow, client, self.runs, self._view, Sent.load(self.runs, self._view))
        tags = {"mlflow.runName": self._experiment, "ablate.parent": "true"} | self._tags
        if known := self._find(client, "ablate.parent", "true"):
            parent.sent = Sent(run=known[0])
            parent.tags(tags)
        else:
            parent.create(self._place, tags, int(time.time() * 1000))
        parent.sent.store = backend.identity()
        parent.turn("running")
        parent.artifacts(self._files)
        parent.save()
        self._parent = parent
        return parent

    def _close(self, files: Sequence[Path], metrics: Mapping[str, float], state: str) -> None:
        told = sorted(metrics.items()), sorted(self._tags.items()), state
        content = notes.checksum([*self._files, *files], told)
        sent = Sent.load(self.runs, self._view)
        current = (sent.store, sent.content, sent.state) == (self.backend.identity(), content, state)
        if current and not self._parent and not self.check:
            return
        with self.backend.lock():
            parent, now = self._opened(), int(time.time() * 1000)
            parent.artifacts(files)
            parent.metrics((name, value, now, 0) for name, value in metrics.items())
            parent.turn(state)
            parent.sent.content = content
            parent.save()
            self._parent = None


def save_model(runs: Path, key: str, folder: Path) -> Path:
    """Write a finished cell as an MLflow model into `folder`, which may not exist yet.

    Raises:
        SpecError: no such cell, one without weights, or a folder that can not be written.
    """
    from ablate.inference.model import load
    from ablate.runs.store import Store
    from ablate.tracking import models

    model = load(Store(runs), key)
    if folder.is_dir() and any(folder.iterdir()):
        raise SpecError(f"{folder}: there is something in it already")
    try:
        models.save(_mlflow(), model, folder)
    except OSError as error:
        raise SpecError(f"{folder}: {(error.strerror or str(error)).lower()}") from None
    return folder
