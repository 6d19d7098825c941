"""`ablate.load` by key, folder or MLflow run, and `ablate.results` by name or path."""

from __future__ import annotations

import re
import shutil

import pytest
import torch
from helpers import untrained
from helpers.cli import call
from helpers.recorded import put

import ablate
from ablate.core.errors import SpecError
from ablate.data import datasets
from ablate.inference.export import export
from ablate.planning.cells import Cell
from ablate.runs.store import complete
from ablate.tracking.tracker import load_mlflow


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A runs directory with one untrained cell under its own key, in the current folder."""
    monkeypatch.chdir(tmp_path)
    store = untrained.store(tmp_path)
    old = ablate.load("cell").cell
    cell = Cell.of(old.recipe, old.profile, old.seed, datasets.fingerprint(old.profile.data))
    (store.path / "cell").rename(store.path / cell.key)
    complete(put(store, cell, 20.0), cell, (1, 8, 8))
    return store


@pytest.fixture
def key(store):
    return store.keys()[0]


def same(a, b):
    return torch.equal(a.sample(2), b.sample(2))


def test_a_key_and_its_beginning(key):
    assert same(ablate.load(key), ablate.load(key[:4]))


@pytest.mark.parametrize("out", ["exported", "two/levels", "33dd"])
def test_the_folder_of_an_export(store, key, out, tmp_path):
    export(store, key, tmp_path / out)
    for given in (out, tmp_path / out, f"./{out}", f"{tmp_path / out}/"):
        assert same(ablate.load(given), ablate.load(key))


def test_a_key_wins_over_a_folder_of_the_same_name(store, key, tmp_path):
    (tmp_path / key[:4]).mkdir()
    assert ablate.load(key[:4]).cell.key == key


@pytest.mark.parametrize("made", ["exported", "my model"])
def test_a_misspelled_folder_names_the_nearest(store, key, made, tmp_path):
    export(store, key, tmp_path / made)
    with pytest.raises(SpecError, match=f"did you mean '{made}'") as caught:
        ablate.load(f"{made[:-1]}")
    assert len(caught.value.problems) == 1


def test_a_misspelled_key_names_the_nearest(key):
    with pytest.raises(SpecError, match=f"did you mean '{key}'"):
        ablate.load(f"{key[:-1]}x")


def test_nothing_at_all_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ("ab", "no/where", tmp_path / "none"):
        with pytest.raises(SpecError, match="there are none"):
            ablate.load(given)


@pytest.fixture
def run(store, key, mlflow_db):
    """Makes a run of the cell in the store's MLflow, with or without files; returns its id."""
    shutil.copy(mlflow_db, store.path)
    client = load_mlflow().MlflowClient(f"sqlite:///{store.path}/mlflow.db")
    place = client.create_experiment("table", artifact_location=(store.path / "artifacts").as_uri())

    def make(*files, tags=True):
        run = client.create_run(place, tags={"ablate.key": key, "ablate.state": "finished"} if tags else {})
        for name in files:
            client.log_artifact(run.info.run_id, str(store.folder(key).path / name))
        return run.info.run_id

    return make


def test_a_run_of_mlflow_is_its_cell(store, key, run, tmp_path):
    wanted, plain, whole, other = (
        ablate.load(key),
        run(),
        run("config.json", "model.safetensors"),
        run(tags=False),
    )
    assert same(ablate.load(plain), wanted)
    shutil.move(store.path / key, tmp_path / "gone")
    assert same(ablate.load(whole), wanted)
    uri = f"sqlite:///{store.path}/mlflow.db"
    assert same(ablate.load(whole, runs=tmp_path / "none", tracking_uri=uri), wanted)
    with pytest.raises(SpecError, match="MLflow does not have its weights"):
        ablate.load(plain)
    with pytest.raises(SpecError, match="is not of a cell"):
        ablate.load(other)
    with pytest.raises(SpecError, match="not found"):
        ablate.load("0" * 32)


def test_a_run_without_a_store_is_one_line(tmp_path):
    with pytest.raises(SpecError, match="no such file"):
        ablate.load("0" * 32, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_readme_of_an_export_works_beside_it_wherever_that_is(store, key, tmp_path, monkeypatch):
    (tmp_path / "else where").mkdir()
    call("export", key, "--out", "a folder", cwd=tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "a folder" / "README.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 5
    assert str(tmp_path) not in code
    shutil.rmtree(store.path)
    shutil.move(tmp_path / "a folder", tmp_path / "else where")
    monkeypatch.chdir(tmp_path / "else where")
    shown = {}
    exec(code, shown)
    assert (tmp_path / "else where" / "samples.png").is_file()
    assert tuple(shown["images"].shape) == (16, 1, 8, 8)


FILE = "name: one\nseeds: [0]\nplan: [{list: [{label: ict}]}]\n"


@pytest.mark.parametrize("given", ["own", "own.yaml", "./own", "sub/other", "sub/other.yml"])
def test_results_of_a_file_with_or_without_its_ending(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "own.yaml").write_text(FILE)
    (tmp_path / "sub" / "other.yml").write_text(FILE)
    assert list(ablate.results(given)["row"]) == ["ict"]


def test_results_of_a_shipped_experiment_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(set(ablate.results("table1", tmp_path / "runs")["row"])) > 10


@pytest.mark.parametrize("given", ["tabel1", "experiments/tabel1.yaml", "table1.yml"])
def test_a_misspelled_experiment_names_the_nearest(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="did you mean 'table1'"):
        ablate.results(given)
