"""The MLflow backend store: a server or a database file. Callers pass the mlflow module in."""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

# the kind of experiment that MLflow's pages open by default
KIND = {"mlflow.experimentKind": "custom_model_development"}
# variables that choose an experiment for other tools
IGNORED = ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")


def ignored(experiment: str) -> list[str]:
    """A line for each variable of MLflow that names another experiment, which is not used."""
    return [
        f"{name}={os.environ[name]} is not used: MLflow's experiment is {experiment!r}, the name in the file"
        for name in IGNORED
        if os.environ.get(name, experiment) not in ("", experiment)
    ]


class Backend:
    """An MLflow backend store.

    Args:
        runs: the folder of the cells.
        uri: the tracking URI; `mlflow.db` in `runs` by default.
    """

    def __init__(self, runs: Path, uri: str | None = None):
        own = runs.resolve() / "mlflow.db"
        self.file = _file(uri) if uri else own
        self.uri = _uri(self.file) if self.file else str(uri)
        self.home = self.file.parent if self.file else runs.resolve()
        self.owned = self.file == own  # it has the cells of `runs` and no others
        self.remote = self.uri.startswith(("http:", "https:"))
        self.artifacts = self.home / "mlflow-artifacts"

    def __str__(self) -> str:
        return self.masked(self.uri)

    @staticmethod
    def masked(text: str) -> str:
        """Text without the user names and passwords of its addresses."""
        return re.sub(r"(?<=://)[^/@\s]*@", "", text)

    def identity(self) -> int | None:
        """A random number drawn when the database file was created; None if it is missing, 0 for other stores."""
        try:
            return int.from_bytes(self._header()[60:64], "big") if self.file else 0
        except FileNotFoundError:
            return None

    def _header(self) -> bytes:
        assert self.file
        with self.file.open("rb") as file:
            return file.read(64)

    def lock(self) -> Any:
        """The lock to hold while you create the store, or read, act on and write notes."""
        from filelock import FileLock

        self.home.mkdir(parents=True, exist_ok=True)
        return FileLock(self.home / "mlflow.lock", timeout=180)

    def create(self, mlflow: Any) -> None:
        """Create a missing database atomically, since MLflow cannot repair an incomplete one."""
        if self.file is None or self.file.exists():
            return
        fresh = self.home / f"mlflow.{os.getpid()}.db"
        for left in (fresh, *(Path(f"{self.file}-{tail}") for tail in ("journal", "wal", "shm"))):
            left.unlink(missing_ok=True)  # sqlite would replay the journal of a deleted store on the new one
        mlflow.MlflowClient(_uri(fresh)).search_experiments(max_results=1)
        with closing(sqlite3.connect(fresh)) as database:
            database.execute(f"PRAGMA user_version = {secrets.randbelow(2**31 - 1) + 1}")
        os.replace(fresh, self.file)

    def experiment(self, client: Any, name: str) -> str:
        """The id of experiment `name`, which is created or restored if needed.

        Raises:
            ValueError: the database was copied with its folder, so new files would go to the old folder.
        """
        place = None if self.remote else self.artifacts.as_uri()
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            return str(client.create_experiment(name, artifact_location=place, tags=KIND))
        if self.owned and experiment.artifact_location != place:
            raise ValueError(
                f"its files are in {experiment.artifact_location}: delete it, it will be built again here"
            )
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)


def _file(uri: str) -> Path | None:
    """The file of a sqlite address."""
    from sqlalchemy import make_url

    if not uri.startswith("sqlite:///"):
        return None
    name = make_url(uri).database
    return Path(name).resolve() if name else None


def _uri(file: Path) -> str:
    """The address of a sqlite file, quoted only where it would mean another: MLflow takes it for a path as well."""
    from sqlalchemy import URL

    address = f"sqlite:///{file}"
    return address if _file(address) == file else URL.create("sqlite", database=str(file)).render_as_string()
