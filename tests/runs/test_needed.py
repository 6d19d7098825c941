"""A worker starts from the weights of the cell that its own needs, or says why it cannot."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from helpers.tiny_training import PROFILE, images, recipe, weights

import ablate
from ablate.core.files import write_json
from ablate.planning.cells import Cell
from ablate.planning.needs import Needed
from ablate.runs import failures, worker
from ablate.runs.assess import save_model
from ablate.runs.store import Store
from ablate.training.trainer import Trainer

NEED = {"init_from": {"name": "recipe", "recipe": "edm", "share": 0.25}}


def planned():
    """A cell that needs another, as the planner makes it, with the tiny network."""
    child = recipe("ect", **NEED)
    parent = dataclasses.replace(recipe("edm"), network=child.network, embedding=child.embedding)
    return Cell.of(child, PROFILE, 0, "mark", (), {"init_from": Needed(parent, 0.25)})


def trained(cell, store, seed=7, state="finished"):
    """The needed cell's folder with a record and the weights of a seed."""
    need = cell.needs["init_from"]
    folder = store.prepare(need)
    t = Trainer(need.recipe, need.profile, images(), seed)
    save_model(t.average, folder.model)
    write_json(folder.record, {"key": need.key, "state": state})
    return t


def test_training_begins_with_the_averaged_weights_of_the_needed_cell(tmp_path):
    cell, store = planned(), Store.writable(tmp_path)
    before = trained(cell, store)
    own = cell.recipe.given(worker._needed(cell, store))
    t = Trainer(own, cell.profile, images(), cell.seed)
    for f in (t.f, t.average):
        assert torch.equal(weights(f.network), weights(before.average.network))
    assert t.K == 18
    assert cell.needs["init_from"].profile.steps == 6


@pytest.mark.parametrize(("state", "said"), [("failed", "which failed"), ("diverged", "which diverged")])
def test_a_cell_without_weights_to_start_from_stays_open(state, said, tmp_path):
    cell, store = planned(), Store.writable(tmp_path)
    with pytest.raises(ablate.SpecError, match="which is not computed"):
        worker._needed(cell, store)
    trained(cell, store, state=state)
    with pytest.raises(ablate.SpecError, match=said) as caught:
        worker._needed(cell, store)
    assert failures.of_machine(caught.value)  # so it gets no record, and the next run tries it again


def test_a_needed_cell_whose_weights_are_gone_is_said(tmp_path):
    cell, store = planned(), Store.writable(tmp_path)
    trained(cell, store)
    store.folder(cell.needs["init_from"].key).model.unlink()
    with pytest.raises(ablate.SpecError, match="whose weights are gone"):
        worker._needed(cell, store)


def test_timing_and_checks_do_without_the_needed_cell():
    child = planned().recipe
    assert child.from_scratch().init_from.name == "scratch"
    assert recipe("ict").from_scratch().init_from.name == "scratch"
