"""A compiled network computes what the plain one does, with the same dropout masks in both passes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers.tiny_training import PROFILE, losses, trainer, weights

from ablate.networks import compile_blocks
from ablate.training import functions

COMPILED = PROFILE.model_copy(update={"compile": True})
TEACHER = {"teacher": "adaptive", "network.dropout": 0.5, "network.multipliers": [1]}


@pytest.fixture(params=["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def compiled(request, monkeypatch):
    """Traced and split into graphs with and without a gradient; `inductor` takes minutes to write C++ as well."""
    torch.compiler.reset()
    monkeypatch.setattr(functions, "compile_blocks", partial(compile_blocks, backend=request.param))
    yield lambda **changes: trainer(profile=COMPILED, **changes)
    torch.compiler.reset()


def test_a_compiled_training_is_the_plain_one_and_both_passes_read_one_mask(compiled):
    plain, t = trainer(**TEACHER), compiled(**TEACHER)
    assert plain.network.state_dict().keys() == t.network.state_dict().keys()
    assert losses(t, 2) == pytest.approx(losses(plain, 2), rel=1e-4)
    masks, seen = [m for m in t.network.modules() if type(m).__name__ == "Dropout"], []
    before = [m.mask for m in masks]
    t._between = lambda: seen.extend(m.mask.clone() for m in masks)
    assert losses(t, 1) == pytest.approx(losses(plain, 1), rel=1e-4)
    after = [m.mask for m in masks]
    assert all(torch.equal(a, b) for a, b in zip(seen, after, strict=True))  # the student's as the teacher's
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    torch.testing.assert_close(weights(t.network), weights(plain.network), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"network.dropout": 0.5}, {"network.checkpointing": True}])
def test_so_it_is_with_one_network_and_with_checkpointing(changes, compiled):
    assert losses(compiled(**changes), 4) == pytest.approx(losses(trainer(**changes), 4), rel=1e-4)


def test_a_key_does_not_tell():
    assert COMPILED.keyed() == PROFILE.keyed()


def test_each_block_is_compiled_once_and_nothing_within_it(monkeypatch):
    found = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: found.append(self))
    network = trainer().network
    assert compile_blocks(network) == len(found) > 2
    inner = {id(m) for block in found for m in list(block.modules())[1:]}
    assert not inner & {id(block) for block in found}
