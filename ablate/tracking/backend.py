"""Where MLflow keeps the view: a server, or a database in a file; takes mlflow from its caller."""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

# what MLflow's pages open an experiment as, where they do not go by their menu
KIND = {"mlflow.experimentKind": "custom_model_development"}


class Backend:
    """An MLflow backend store.

    Args:
        runs: the folder of the cells.
        uri: MLflow's address of the store; `mlflow.db` in `runs` unless given.
    """

    def __init__(self, runs: Path, uri: str | None = None):
        own = runs.resolve() / "mlflow.db"
        kind, _, path = (uri or f"sqlite:///{own}").partition(":///")
        self.file = Path(path).resolve() if kind == "sqlite" and path else None
        self.uri = f"sqlite:///{self.file}" if self.file else str(uri)
        self.home = self.file.parent if self.file else runs.resolve()
        self.owned = self.file == own  # shows the cells of `runs` and no others
        self.remote = self.uri.startswith(("http:", "https:"))
        self.artifacts = self.home / "mlflow-artifacts"

    def __str__(self) -> str:
        return self.masked(self.uri)

    @staticmethod
    def masked(text: str) -> str:
        """Text whose addresses show no user and password: notes and messages are no place for them."""
        return re.sub(r"(?<=://)[^/@\s]*@", "", text)

    def identity(self) -> int | None:
        """A number drawn when the file was created; None for a missing file, 0 for what is no file."""
        try:
            return int.from_bytes(self._header()[60:64], "big") if self.file else 0
        except FileNotFoundError:
            return None

    def _header(self) -> bytes:
        assert self.file
        with self.file.open("rb") as file:
            return file.read(64)

    def lock(self) -> Any:
        """Held while the store is created, and while notes are read, acted on and written."""
        from filelock import FileLock

        self.home.mkdir(parents=True, exist_ok=True)
        return FileLock(self.home / "mlflow.lock", timeout=180)

    def create(self, mlflow: Any) -> None:
        """Make a missing database, whole or not at all: MLflow can not repair a half-made one."""
        if self.file is None or self.file.exists():
            return
        fresh = self.home / f"mlflow.{os.getpid()}.db"
        for left in (fresh, *(Path(f"{self.file}-{tail}") for tail in ("journal", "wal", "shm"))):
            left.unlink(missing_ok=True)  # sqlite would replay a deleted store's journal on the new one
        mlflow.MlflowClient(f"sqlite:///{fresh}").search_experiments(max_results=1)
        with closing(sqlite3.connect(fresh)) as database:
            database.execute(f"PRAGMA user_version = {secrets.randbelow(2**31 - 1) + 1}")
        os.replace(fresh, self.file)

    def experiment(self, client: Any, name: str) -> str:
        """The id of the experiment `name`; made, or taken back from the bin, where needed.

        Raises:
            ValueError: the database came here with a copied folder; its files would go to the old place.
        """
        place = None if self.remote else self.artifacts.as_uri()
        found = client.get_experiment_by_name(name)
        if found is None:
            return str(client.create_experiment(name, artifact_location=place, tags=KIND))
        if self.owned and found.artifact_location != place:
            raise ValueError(f"its files are in {found.artifact_location}: delete it, it is built again here")
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
