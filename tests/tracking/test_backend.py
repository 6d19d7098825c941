"""A database's address and its path are the same file, whatever its folder is called."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from ablate.tracking.backend import Backend


@pytest.mark.parametrize(
    "name", ["plain", "a b", "100%", "a%20b", "what?", "#1", "josé & co", "a=b;c", "user@host"]
)
def test_a_folder_of_any_name_holds_its_own_database(name, tmp_path):
    from sqlalchemy import create_engine, text

    runs = tmp_path / name / "runs"
    runs.mkdir(parents=True)
    backend = Backend(runs)
    assert backend.file == runs / "mlflow.db"
    engine = create_engine(backend.uri)  # as MLflow does
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE here (a)"))
    engine.dispose()
    with closing(sqlite3.connect(runs / "mlflow.db")) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("here",)]
    again = Backend(runs, backend.uri)
    assert (again.file, again.uri, again.owned) == (backend.file, backend.uri, True)


@pytest.mark.parametrize(
    "uri", ["http://host:5000", "https://me:secret@host", "postgresql://host/x", "nonsense", "sqlite://"]
)
def test_other_addresses_have_no_file(uri, tmp_path):
    backend = Backend(tmp_path, uri)
    assert (backend.file, backend.uri) == (None, uri)


def test_a_relative_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Backend(tmp_path, "sqlite:///own.db").file == tmp_path / "own.db"
