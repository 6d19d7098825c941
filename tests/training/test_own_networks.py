"""Networks of one's own in training: what they keep beside weights, their dropout, frozen parameters."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from helpers import own_networks
from helpers.tiny_training import PROFILE, images, losses, trainer, weights

import ablate
from ablate.core.errors import SpecError
from ablate.networks.dropout import Dropout
from ablate.training.trainer import Trainer


def own(name, seed=0, arguments=None, **changes):
    return made(own_networks.spec(name, arguments), seed, **changes)


def made(network, seed=0, **changes):
    changes = {"averaging.decay": 0.9, "network": network, **changes}
    recipe = ablate.apply(ablate.load_recipe("ict"), changes).for_images((1, 8, 8))
    return Trainer(recipe, PROFILE, images(), seed)


def state(network):
    """Its buffers and frozen parameters by name."""
    frozen = {name: p for name, p in network.named_parameters() if name == "passes" or not p.requires_grad}
    return {name: value.clone() for name, value in (dict(network.named_buffers()) | frozen).items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("teacher", ["none", "fixed"])
@pytest.mark.parametrize("name", ["Normed", "Replaced", "Spectral", "Counting"])
def test_the_averages_have_what_the_student_keeps_beside_its_weights(name, teacher):
    t = own(name, teacher=teacher)
    begun = state(t.network)
    for _ in range(3):
        t.step()
        now, names = state(t.network), begun.keys()
        assert not equal(now, begun)
        for f in (t.average, t.teacher):
            assert equal({n: v for n, v in f.network.state_dict().items() if n in names}, now)
    assert not torch.equal(weights(t.average.network), weights(t.network))


@pytest.mark.parametrize("name", ["Normed", "Replaced", "Spectral", "NormedDropped"])
@pytest.mark.parametrize("teacher", ["none", "fixed"])
def test_a_resumed_training_of_ones_own_network_is_the_uninterrupted_one(name, teacher):
    whole, first, second = (own(name, teacher=teacher) for _ in range(3))
    losses(first, 3)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert losses(whole, 6)[3:] == losses(second, 3)
    for of in ("f", "teacher", "average"):
        a, b = (getattr(t, of).network.state_dict() for t in (whole, second))
        assert equal(a, b)


@pytest.mark.parametrize("name", ["NormedDropped", "Dropped"])
def test_drawing_the_first_masks_of_a_device_changes_no_buffer(name):
    t = own(name)
    begun = state(t.network)
    t.functions.know_masks(8, (1, 8, 8), "cpu")
    assert equal(state(t.network), begun)
    assert t.network.between[1].mask.shape == (8, 8, 8, 8)


@pytest.mark.parametrize("network", ["ncsnpp", "ddpmpp", "adm"])
def test_the_packages_networks_keep_only_constants(network):
    fields = {"network.width": 16} if network == "adm" else {}
    t = trainer(network=network, **{"embedding.stored": True, **fields})
    begun = state(t.network)
    losses(t, 2)
    assert begun
    assert equal(state(t.network), begun)


@pytest.mark.parametrize("name", ["Dropped", "Tied", "Twice"])
def test_the_seed_alone_decides_the_masks_of_ones_own_dropout(name):
    found = []
    for other in (1, 2):
        t = own(name)
        torch.manual_seed(other)
        found.append((losses(t, 3), weights(t.network)))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])
    assert losses(own(name, seed=1), 1) != found[0][0][:1]


@dataclass(frozen=True)
class Option:
    """A network of somebody's package, which is no `module`."""

    kind: str = "Dropout"

    def __call__(self, shape, classes=0):
        return own_networks.Dropped(shape, classes, None, kind=self.kind)


def test_an_option_of_ones_own_shares_its_masks_too():
    ablate.AXES["network"]("test_dropped")(Option)
    try:
        t = made("test_dropped")
        assert [type(m) for m in t.network.between] == [torch.nn.Conv2d, Dropout]
        with pytest.raises(SpecError, match=r"^network: between\.1: Dropout2d\(p=0\.3.*cannot share"):
            made({"name": "test_dropped", "kind": "Dropout2d"})
    finally:
        del ablate.AXES["network"].options["test_dropped"]


@pytest.mark.parametrize("parts", [["first"], ["level", "last"], ["between"]])
@pytest.mark.parametrize("optimizer", [{"name": "adamw", "weight_decay": 0.1}, {"name": "lion"}])
def test_frozen_parameters_stay_to_the_last_bit_and_are_saved(parts, optimizer):
    t = own("Frozen", arguments={"parts": parts}, optimizer=optimizer, teacher="fixed")
    frozen, begun = {n: p for n, p in t.network.named_parameters() if not p.requires_grad}, state(t.network)
    assert len(frozen) == 2 * len(parts)
    assert t.weights.numel() == sum(p.numel() for p in t.network.parameters() if p.requires_grad)
    before = t.weights.detach().clone()
    losses(t, 3)
    assert not torch.equal(before, t.weights)
    for f in (t.f, t.teacher, t.average):
        saved = f.network.state_dict()
        assert all(torch.equal(saved[name], begun[name]) for name in frozen)
    assert not torch.equal(weights(t.average.network), weights(t.network))


def test_a_network_without_a_parameter_to_train_is_refused_in_one_line():
    with pytest.raises(
        SpecError, match=r"^network\.path: .*:Frozen: must have .* requires_grad=True, but has none$"
    ):
        own("Frozen", arguments={"parts": ["level", "first", "between", "last"]})


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e30])
def test_whether_a_norm_is_logged_changes_no_result(value):
    found = []
    for every in (1, 4):
        t = Trainer(trainer().recipe, PROFILE.model_copy(update={"log_every": every}), images(), 0)
        t.weights.grad = torch.full_like(t.weights, 0.5)
        t.weights.grad[3] = value
        norm = t._clip()
        assert (norm is None) == (every == 4)
        found.append(t.weights.grad)
    assert torch.equal(*(g.nan_to_num(7.0, 8.0) for g in found))
    assert t.weights.grad[0] == 0.5
