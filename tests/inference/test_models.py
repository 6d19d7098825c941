"""A finished cell as an MLflow model: loaded back, it gives the same images."""

from __future__ import annotations

import os
import zipfile

import pytest
import torch
from helpers.recorded import put
from helpers.untrained import store

import ablate
from ablate.core.errors import SpecError
from ablate.data import datasets
from ablate.planning.cells import Cell
from ablate.runs.store import Store
from ablate.tracking import sources
from ablate.tracking import tracker as tracking
from ablate.tracking.tracker import Tracker
from ablate.training import sampling


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A runs directory with one untrained cell under its own key, and a record of it."""
    place = tmp_path_factory.mktemp("models")
    made = store(place)
    folder = made.folder("cell")
    old = ablate.load("cell", made.path).cell
    cell = Cell.of(old.recipe, old.profile, old.seed, datasets.fingerprint(old.profile.data))
    (folder.path / "config.json").unlink()
    folder.path.rename(made.path / cell.key)
    put(made, cell, 20.0)
    return made, cell.key


def same(loaded, model, n, sigmas=()):
    """Whether a loaded MLflow model samples what the cell's own does, for any n."""
    levels = model.cell.recipe.levels
    z = [sampling.noise(5, model.shape, n, step, "cpu") for step in range(1 + len(sigmas))]
    with torch.no_grad():
        found = sampling.sample(
            lambda x, s, _: loaded(x, s), z, [levels.sigma_max, *sigmas], levels.sigma_min
        )
    return torch.equal(found, model.sample(n, sigmas, seed=5))


@pytest.fixture(scope="module")
def logged(place):
    """The cell's run with its model, in a store of its own; the model's address."""
    made, key = place
    folder, uri = made.folder(key).path, f"sqlite:///{made.path.parent}/mlflow.db"
    tracker = Tracker(made.path, uri)
    tracker.open("table", {}, [])
    for _ in range(2):  # the second time nothing is made
        tracker.update(folder, {}, False)
        tracker.model(folder)
        assert tracker.problem is None
    client = tracking.load_mlflow().MlflowClient(uri)
    (found,) = client.search_logged_models([client.get_experiment_by_name("table").experiment_id])
    return uri, client, found


@pytest.mark.slow
def test_a_logged_model_gives_the_same_images(place, logged):
    made, key = place
    uri, _, found = logged
    mlflow = tracking.load_mlflow()
    mlflow.set_tracking_uri(uri)
    loaded = mlflow.pytorch.load_model(f"models:/{found.model_id}")
    model = ablate.load(key, made.path)
    assert same(loaded, model, 1)
    assert same(loaded, model, 7, [0.821])
    again = mlflow.pytorch.load_model(f"runs:/{found.source_run_id}/model")
    assert same(again, model, 3)


@pytest.mark.slow
def test_a_fetched_cell_has_its_weights(place, logged, tmp_path):
    made, key = place
    there = Store(tmp_path / "there")
    assert sources.fetch(logged[0], there).keys == [key]
    ours, theirs = (ablate.load(key, runs).sample(2) for runs in (made.path, there.path))
    assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_a_model_in_a_folder_holds_no_pickle_of_ours(place, tmp_path, monkeypatch):
    made, key = place
    folder = tracking.save_model(made.path, key, tmp_path / "mlflow")
    monkeypatch.setitem(
        os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false"
    )  # refuses what would run code
    loaded = tracking.load_mlflow().pytorch.load_model(str(folder))
    assert same(loaded, ablate.load(key, made.path), 2)
    assert zipfile.is_zipfile(folder / "data" / "model.pt2")


def test_a_folder_that_can_not_be_made_is_one_line(place, tmp_path):
    made, key = place
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="file/mlflow"):
        tracking.save_model(made.path, key, tmp_path / "file" / "mlflow")
