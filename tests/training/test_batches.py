"""Images that do not fit on the device: gathered ahead of the steps, the same draws in the same order."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from helpers.pictures import colours, packed
from helpers.tiny_training import PROFILE, SMALL, images, losses, recipe, weights

import ablate
from ablate.config.profile import Data
from ablate.data import datasets
from ablate.evaluation.preflight import preflight
from ablate.training.batches import Batches
from ablate.training.trainer import Trainer


def pair(data=PROFILE.data, **changes):
    """The same training with its images on the device and ahead of the steps."""
    profile = PROFILE.model_copy(update={"data": data, **changes})
    three = dataclasses.replace(images(), train_labels=torch.arange(40) % 3, classes=3)
    return [Trainer(recipe(), profile, dataclasses.replace(three, ahead=ahead), 0) for ahead in (False, True)]


@pytest.mark.parametrize(
    "more",
    [{}, {"accumulate": 2}, {"batch": 5}, {"data": Data(name="digits", labels=True, label_dropout=0.3)}],
    ids=str,
)
def test_losses_and_weights_are_equal_bit_for_bit(more):
    a, b = pair(**more)
    assert losses(a, 12) == losses(b, 12)
    assert torch.equal(weights(a.network), weights(b.network))


def test_a_resumed_training_gathers_from_its_step_on():
    a, b = pair()
    losses(a, 7)
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    assert losses(a, 3) == losses(b, 3)


@pytest.mark.parametrize("order", [[0, 1, 2], [5, 2, 3, 9], [3, 3, 4], [9, 0]], ids=str)
def test_any_order_of_steps_gives_each_its_own_batch(order):
    here, ahead = (Batches(dataclasses.replace(images(), ahead=a), 0, 8, 10) for a in (False, True))
    for k in order:
        assert torch.equal(here(k), ahead(k))


def test_the_next_batch_is_gathered_while_a_step_is_computed_and_none_after_the_last():
    batches = Batches(dataclasses.replace(images(), ahead=True), 0, 8, 3)
    gathered, gather = [], batches._gather
    batches._gather = lambda k: gathered.append(k) or gather(k)
    for k in range(3):
        batches(k)
        if batches.next:
            batches.next[1].result()
        assert gathered == list(range(min(k + 2, 3)))


def test_size_decides_where_images_are(tmp_path):
    path = packed(tmp_path / "a.zip", colours(400, size=32))  # 1.2 MB
    (tmp_path / "cache").mkdir()
    found = {}
    for limit in (1, 2, None):
        spec = Data(name="zip", path=str(path), device_mb=limit)
        for cache in (None, tmp_path / "cache"):
            found[limit, cache] = datasets.load(spec, cache=cache)
    assert [i.ahead for i in found.values()] == [True, True, False, False, False, False]
    assert len({i.fingerprint for i in found.values()}) == 1
    assert len({i.place for i in found.values()}) == 2
    profile = PROFILE.model_copy(update={"data": Data(name="digits")})
    three = ablate.apply(ablate.load_recipe("ict"), SMALL).for_images((3, 32, 32))
    runs = [losses(Trainer(three, profile, found[limit, tmp_path / "cache"], 0), 2) for limit in (1, 2)]
    assert all(run == runs[0] for run in runs)


def test_a_set_that_is_too_large_is_refused_before_training(tmp_path):
    path = packed(tmp_path / "a.zip", colours(400, size=32), [i % 2 for i in range(400)])
    answer = {}
    for limit in (1, 2, None):
        profile = PROFILE.model_copy(update={"data": Data(name="zip", path=str(path), device_mb=limit)})
        answer[limit] = [note for note in preflight(profile) if "ahead" in note]
    assert [len(notes) for notes in answer.values()] == [1, 0, 0]
    assert "0.00123 GB of images, and the device holds up to 0.001 GB" in answer[1][0]
