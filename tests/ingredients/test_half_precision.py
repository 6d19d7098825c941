"""bf16 and fp16 on the path of the CPU: what they cover, a trace against fp32, and a gradient that overflows."""

from __future__ import annotations

import contextlib
from unittest import mock

import pytest
import torch
from helpers import devices
from helpers.tiny_training import PROFILE, images, losses, recipe, weights
from torch.utils._python_dispatch import TorchDispatchMode

from ablate.training.trainer import Trainer

LONG = PROFILE.model_copy(update={"images": 8 * 60})
BOUNDS = {"bf16": 0.05, "fp16": 0.02}  # largest relative difference of a loss from fp32's, over 50 steps


def trainer(precision, profile=LONG, **changes):
    small = {"precision": precision, "network.multipliers": [1]}
    return Trainer(recipe(**{**small, **changes}), profile, images(), 0)


@pytest.fixture(scope="module")
def full():
    return torch.tensor(losses(trainer("fp32"), 50))


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.slow)])
def test_fifty_losses_are_those_of_full_precision_within_a_bound(precision, full):
    half = torch.tensor(losses(trainer(precision), 50))
    assert ((half - full).abs() / full).max() < BOUNDS[precision]
    assert not torch.equal(half, full)


class Halves(TorchDispatchMode):
    """The operations that return half precision."""

    def __init__(self):
        super().__init__()
        self.found, self.within = [], False

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **(kwargs or {}))
        if not self.within and isinstance(out, torch.Tensor) and out.dtype in (torch.float16, torch.bfloat16):
            self.found.append(str(operation))
        return out


@pytest.mark.parametrize(
    "changes", [{}, {"teacher": "adaptive"}, {"pairing": "ect"}, {"coupling": "minibatch_ot"}]
)
@pytest.mark.parametrize("precision", BOUNDS)
def test_outside_the_network_nothing_is_in_half_precision(precision, changes):
    """Draws, coefficients, loss, clipping, optimizer and averages; the backward pass is the network's."""
    t, seen = trainer(precision, **{"optimizer.clip": 1.0, **changes}), Halves()
    for network in {t.network, t.teacher.network}:
        network.register_forward_pre_hook(lambda *_: setattr(seen, "within", True))
        network.register_forward_hook(lambda *_: setattr(seen, "within", False))
    t.shares = True
    with seen:
        draws = t.draws(0)
        t._mask("dropout")
        terms, _ = t._terms(draws)
        assert terms.loss.dtype in (torch.float32, torch.float64)
        t._clip()
        t.optimizer.step()
        t._update_averages(11)
    assert seen.found == []


@pytest.mark.parametrize("optimizer", ["radam", "adam", "adamw"])
def test_an_overflow_is_skipped_as_torch_does(optimizer):
    """The weights stay, the scale is halved, and the next step moves them; clipped or not."""
    t = trainer("fp16", optimizer={"name": optimizer, "lr": 0.001, "clip": 1.0})
    t.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    before = weights(t.network)
    step = t.step()
    assert torch.isfinite(step.loss)
    assert torch.equal(weights(t.network), before)
    assert t.scaler.get_scale() == 2.0**126
    t.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    t.step()
    assert torch.isfinite(weights(t.network)).all()
    assert not torch.equal(weights(t.network), before)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_scaled_step_is_the_plain_one(clip):
    """Logged norms and those of each image too: neither has the scale in it."""
    plain, scaled = (trainer("fp16", **{"optimizer.clip": clip}) for _ in range(2))
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)
    for _ in range(4):
        a, b = plain.step(), scaled.step()
        torch.testing.assert_close(a.loss, b.loss, rtol=1e-3, atol=0)
        torch.testing.assert_close(a.terms.gradient, b.terms.gradient, rtol=1e-2, atol=1e-6)
    torch.testing.assert_close(a.grad_norm, b.grad_norm, rtol=1e-2, atol=0)


SPLIT = LONG.model_copy(update={"accumulate": 2})
KINDS = {
    "in parts": ({}, SPLIT),
    "with a trained weight": ({"weighting": "learned"}, LONG),
    "with a teacher": ({"teacher": "adaptive"}, LONG),
    "clipped": ({"optimizer.clip": 1.0}, LONG),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_overflow_of_any_training_leaves_every_weight(kind):
    """One part of a batch, or one group of weights, is enough to skip all of them."""
    changes, profile = KINDS[kind]
    t = trainer("fp16", profile, **changes)
    t.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    trained = [t.weights, *t.balanced]
    before = [p.detach().clone() for p in trained]
    assert torch.isfinite(t.step().loss)
    assert all(torch.equal(p, b) for p, b in zip(trained, before, strict=True))
    assert torch.isfinite(t.averaged).all()
    t.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    t.step()
    assert not any(torch.equal(p, b) for p, b in zip(trained, before, strict=True))


def test_the_scale_is_part_of_a_checkpoint():
    whole, resumed = trainer("fp16"), trainer("fp16")
    whole.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    for _ in range(2):
        whole.step()
    resumed.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    resumed.load_state_dict(whole.state_dict())
    assert resumed.scaler.get_scale() == whole.scaler.get_scale() == 2.0**125
    assert losses(resumed, 2) == losses(whole, 2)


@pytest.mark.parametrize(("precision", "scaled"), [("fp32", False), ("bf16", False), ("fp16", True)])
def test_only_fp16_on_a_gpu_has_a_scaled_loss(precision, scaled):
    assert not trainer(precision).scaler.is_enabled()
    made = recipe(precision=precision, **{"network.multipliers": [1]})
    here = mock.patch("torch.autocast", return_value=contextlib.nullcontext())  # it knows no `meta`
    with here, devices.absent("meta"):
        t = Trainer(made, LONG, devices.images("meta", classes=1), 0, "meta")
    assert t.scaler.is_enabled() == scaled
