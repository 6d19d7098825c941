"""The way back from MLflow: a report and a runs directory from a tracking store alone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from helpers.recorded import decide

from ablate.analysis import sequential
from ablate.analysis.results import Results
from ablate.core.errors import SpecError
from ablate.evaluation import ruler
from ablate.planning.planner import load
from ablate.report import writer
from ablate.runs.store import Store
from ablate.tracking import live, retrieval, sources, tracker
from ablate.tracking.backend import Backend

TEXT = """
name: made
seeds: {min: 2, max: 4, until: decided}
plan: [{grid: {metric.c: [0.01, 0.1]}}]
claims: [{id: open, says: s, better: {metric.c: 0.01}, worse: {metric.c: 0.1}}]
"""
VALUES = [20.1, 30.2, 25.3, 24.4, 22.5, 28.6, 27.7, 21.8]


class Made:
    """An experiment whose claim stays open, all its seeds recorded, and its report."""

    def __init__(self, place):
        self.place, self.file, self.store = place, place / "made.yaml", Store(place / "runs")
        self.file.write_text(TEXT)
        self.experiment = load(self.file)
        decide(self.experiment, self.store, VALUES)
        self.folder = writer.write(self.experiment, self.store, place / "reports")

    def shown(self, uri):
        """What `sync` does."""
        assert live.sync(Results(self.experiment, self.store), uri, self.folder) == (8, [])
        return uri

    def check_report(self, uri):
        """The report from a store is the one from disk, its figures included."""
        with sources.reading(uri, load(self.file), self.place / "nowhere") as (place, refused):
            experiment = sequential.recorded(load(self.file), place)
            folder = writer.write(experiment, Store(place), self.place / "again")
        assert refused == []
        for file in self.folder.rglob("*.*"):
            if file.name not in (".written.json", "index.html"):
                assert (folder / file.relative_to(self.folder)).read_bytes() == file.read_bytes(), file

    def check_runs(self, uri):
        """What is fetched is what is on disk, but for notes on this machine."""
        there = Store(self.place / "there")
        assert sorted(sources.fetch(uri, there).keys) == sorted(self.experiment.cells)
        for key in self.experiment.cells:
            ours, theirs = self.store.folder(key).path, there.folder(key).path
            files = {p.relative_to(theirs): p.read_bytes() for p in theirs.rglob("*.*")}
            assert files == {p: (ours / p).read_bytes() for p in files}
            grids = {f"images_000032000_{nfe}step.png" for nfe in (1, 2)}
            assert {p.name for p in files} == {"config.json", "record.json", "metrics.jsonl", *grids}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def database(made, mlflow_db):
    """A store with the experiment in it."""
    (made.place / "store").mkdir()
    shutil.copy(mlflow_db, made.place / "store")
    return made.shown(f"sqlite:///{made.place}/store/mlflow.db")


def test_the_report_from_a_database_is_the_report_from_disk(made, database):
    made.check_report(database)


def test_the_runs_directory_is_rebuilt_from_a_database(made, database):
    made.check_runs(database)


def test_an_experiment_asks_for_its_own_cells_only(made, database, tmp_path):
    keys = sources.possible(load(made.file, seeds=[1]))
    assert set(sources.fetch(database, Store(tmp_path), keys).keys) == keys
    assert len(keys) == 2


def test_extractors_beside_a_report_come_from_its_run(made, mlflow_db, tmp_path):
    """`sync` logs the report's folder; an extractor in it is found by its name."""
    shutil.copy(mlflow_db, tmp_path / "mlflow.db")
    uri, ours = f"sqlite:///{tmp_path}/mlflow.db", next(ruler.candidates((1, 8, 8), 10))
    file = made.folder / f"{ours.label}.safetensors"
    ruler.write(ours, file)
    try:
        made.shown(uri)
    finally:
        file.unlink()
    (tmp_path / "found").mkdir()
    retrieval.rulers(uri, tmp_path / "found")
    assert [*ruler.files(tmp_path / "found")] == [ours.label]


def test_files_that_were_lost_are_named_by_their_cell(made, database, tmp_path):
    copy = tmp_path / "mlflow.db"
    shutil.copy(made.place / "store" / "mlflow.db", copy)
    lost = made.place / "store" / "mlflow-artifacts"
    lost.rename(tmp_path / "away")
    try:
        fetched = sources.fetch(f"sqlite:///{copy}", Store(tmp_path / "there"))
    finally:
        (tmp_path / "away").rename(lost)
    assert fetched.keys == []
    assert all(re.match("cell [0-9a-f]{12}: ", problem) for problem in fetched.problems)
    assert len(fetched.problems) == 8


def test_a_picture_that_is_none_is_named_by_its_cell(made, database, tmp_path):
    artifacts = made.place / "store" / "mlflow-artifacts"
    picture = next(artifacts.rglob("images_*_1step.png"))
    before = picture.read_bytes()
    picture.write_text("no picture")
    try:
        fetched = sources.fetch(database, Store(tmp_path / "there"))
    finally:
        picture.write_bytes(before)
    assert len(fetched.keys) == 7
    (problem,) = fetched.problems
    assert re.match("cell [0-9a-f]{12}: cannot identify image", problem)


def test_a_network_of_which_no_model_can_be_made_hinders_no_other(made, mlflow_db, monkeypatch, tmp_path):
    def other(runs, key, folder):
        raise ValueError("it branches on data")

    for key in made.experiment.cells:
        made.store.folder(key).model.write_bytes(b"weights")
    monkeypatch.setattr(tracker, "save_model", other)
    shutil.copy(mlflow_db, tmp_path)
    results = Results(made.experiment, made.store)
    cells, problems = live.sync(results, f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "no", models=True)
    for key in made.experiment.cells:
        made.store.folder(key).model.unlink()
    assert (cells, len(problems)) == (8, 8)
    assert all("no MLflow model can be made of it: it branches on data" in problem for problem in problems)


def test_a_view_that_lacks_files_is_brought_up_to_date(made, database):
    backend = Backend(made.store.path, database)
    for file in backend.artifacts.rglob("metrics.jsonl"):
        file.unlink()
    for folder in (made.store.folder(key).path for key in made.experiment.cells):
        notes = tracker.Sent.load(folder, f"{backend}|made")
        notes.content -= 1  # as an older version counted it
        notes.save(folder, f"{backend}|made")
    made.shown(database)
    assert len(list(backend.artifacts.rglob("metrics.jsonl"))) == 8


@pytest.mark.parametrize("uri", ["sqlite:///{}/no.db", "http://me:secret@127.0.0.1:9", "nonsense://x"])
def test_a_store_that_is_not_there_is_one_line(uri, tmp_path):
    with pytest.raises(SpecError) as answer:
        sources.fetch(uri.format(tmp_path), Store(tmp_path / "there"))
    (problem,) = answer.value.problems
    assert "\n" not in problem
    assert "secret" not in problem
    assert not (tmp_path / "no.db").exists()


@pytest.fixture
def server(tmp_path):
    """A real MLflow server that hands artifacts through, on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    backend = Backend(tmp_path / "server")
    backend.home.mkdir()
    backend.create(tracker.load_mlflow())
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", backend.uri, "--workers", "1"]
    command += ["--artifacts-destination", str(backend.artifacts), "--host", "127.0.0.1", "--port", str(port)]
    env = {**tracker.ENVIRONMENT, **os.environ}
    with (tmp_path / "server.txt").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(240):
            time.sleep(0.5)
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
                break
            except OSError:
                continue
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@pytest.mark.slow
def test_a_server_gives_back_what_it_was_shown(made, server):
    made.shown(server)
    made.check_report(server)
    shutil.rmtree(made.place / "there", ignore_errors=True)
    made.check_runs(server)
