from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from helpers.tiny_training import PROFILE, SMALL, images, losses, saved, trainer, weights

import ablate
from ablate.config.profile import Data, Profile
from ablate.training.batches import batch_indices
from ablate.training.sampling import generate
from ablate.training.trainer import Trainer


def test_the_same_cell_twice_is_bit_equal_and_two_seeds_differ():
    a, b = trainer(), trainer()
    assert losses(a, 6) == losses(b, 6)
    assert torch.equal(weights(a.network), weights(b.network))
    assert losses(trainer(seed=1), 2) != losses(trainer(), 2)


@pytest.mark.parametrize("base", ["ict", "ct"])
def test_a_resumed_run_is_bit_equal(base, tmp_path):
    whole, first, second = trainer(base=base), trainer(base=base), trainer(base=base)
    undisturbed = losses(whole, 10)
    begun = losses(first, 4)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert begun + losses(second, 6) == undisturbed
    assert torch.equal(weights(second.average.network), weights(whole.average.network))


def test_the_steps_of_a_budget():
    t = trainer()
    steps = list(t)
    assert [s.k for s in steps] == list(range(1, 25))
    assert steps[-1].images == 8 * 24
    assert steps[0].N == 11
    assert steps[-1].N == 1281
    assert [s.k for s in steps if s.grad_norm is not None] == [4, 8, 12, 16, 20, 24]


def test_no_teacher_keeps_no_second_copy():
    t = trainer()
    assert t.teacher.network is t.network
    assert "teacher" not in t.state_dict()


def test_an_adaptive_teacher_follows_by_its_decay():
    t = trainer(teacher={"name": "adaptive"})
    before = weights(t.teacher.network)
    t.step()
    mu = t.recipe.teacher(t.recipe.curriculum(0, t.K))
    torch.testing.assert_close(weights(t.teacher.network), mu * before + (1 - mu) * weights(t.network))


def test_the_average_follows_by_its_decay_and_the_swapped_one_never_moves():
    """Defect D10."""
    t = trainer()
    before = weights(t.average.network)
    t.step()
    torch.testing.assert_close(weights(t.average.network), 0.9 * before + 0.1 * weights(t.network))
    swapped = trainer(averaging={"name": "swapped", "decay": 0.9})
    losses(swapped, 3)
    assert torch.equal(weights(swapped.average.network), before)


def test_dropout_masks_are_the_same_in_both_passes_unless_asked_otherwise():
    """With equal weights and equal inputs only the masks can tell the passes apart (defect D5)."""
    t = trainer()
    with torch.no_grad():
        for p in t.network.parameters():
            p.add_(0.05)  # the output convolution begins at zero, where no mask shows
    x, sigma = torch.randn(8, 1, 8, 8), torch.full((8,), 1.0, dtype=torch.float64)
    t.network.train()
    t.step()
    assert torch.equal(t.f(x, sigma), t.teacher(x, sigma))
    separate = trainer(dropout_sharing="separate")
    separate.network.load_state_dict(t.network.state_dict())
    separate.shares = False
    target = separate.teacher(x, sigma)
    separate._between()
    assert not torch.equal(target, separate.f(x, sigma))


def test_common_random_numbers_across_recipes():
    """Images, flips, noise, levels and initial weights of a seed do not depend on the recipe."""
    a, b = trainer(), trainer(base="ct", metric="l1")
    for k in (0, 7):
        first, second = a.draws(k), b.draws(k)
        assert torch.equal(first.x, second.x)
        assert torch.equal(first.z, second.z)
        assert torch.equal(first.u, second.u)
    assert torch.equal(weights(a.network), weights(b.network))


def test_every_image_is_seen_once_an_epoch_across_batches():
    seen = torch.cat([batch_indices(0, k, 8, 20) for k in range(5)])
    assert sorted(seen[:20].tolist()) == list(range(20))
    assert sorted(seen[20:].tolist()) == list(range(20))
    assert torch.equal(batch_indices(0, 1, 16, 20)[:8], batch_indices(0, 2, 8, 20))


def test_a_batch_larger_than_the_data():
    assert torch.bincount(batch_indices(0, 0, 50, 20)).sum() == 50


def test_clipping_bounds_the_step():
    t = trainer(**{"optimizer.clip": 1e-3})
    norm = t.step().grad_norm
    assert norm > 1e-3
    assert float(t.weights.grad.norm()) == pytest.approx(1e-3, rel=0.01)


def test_the_schedule_sets_the_rate():
    t = trainer(schedule={"name": "constant", "warmup": 10})
    assert [t.step().lr for _ in range(3)] == pytest.approx([1e-4, 2e-4, 3e-4])


ALIVE = {
    "levels": {"levels.rho": 5.0},
    "curriculum": {"curriculum": "constant"},
    "noise": {"noise": "uniform"},
    "pairing": {"pairing.skip_steps": 2},
    "weighting": {"weighting": "uniform"},
    "metric": {"metric": "l1"},
    "teacher": {"teacher": "adaptive"},
    "noise_precond": {"noise_precond": "none"},
    "input_precond": {"input_precond": "none"},
    "parameterization": {"parameterization": "script"},
    "sampling_precond": {"sampling_precond": "scheduler"},
    "embedding": {"embedding.scale": 16.0},
    "network": {"network.dropout": 0.0},
    "init_from": lambda folder: {"init_from": {"name": "file", "path": saved(folder, trainer(seed=5))}},
    "dropout_sharing": {"dropout_sharing": "separate"},
    "coupling": {"coupling": "minibatch_ot"},
    "direction": {"direction": "reference"},
    "averaging": {"averaging.decay": 0.5},
    "optimizer": {"optimizer": {"name": "adam", "lr": 0.001}},
    "schedule": {"schedule": "cosine"},
    "precision": {"precision.inputs": "bfloat16"},
}


SAMPLED = {"sampling_precond"}  # axes that training does not read


def outcome(**changes):
    """Weights and samples after three steps; three, for the network's output begins at zero."""
    t = trainer(**changes)
    losses(t, 3)
    samples = generate(t.average, (1, 8, 8), 4, [80.0, 0.8], 0.002)
    return torch.cat([weights(t.network), weights(t.average.network)]), samples


@pytest.fixture(scope="module")
def plain():
    return outcome()


@pytest.mark.parametrize("axis", [a for a in ablate.AXES if a not in SAMPLED])
def test_every_axis_is_alive(axis, plain, tmp_path):
    changes = ALIVE[axis](tmp_path) if callable(ALIVE[axis]) else ALIVE[axis]
    assert not torch.equal(plain[0], outcome(**changes)[0])


def test_an_axis_of_sampling_changes_the_samples_and_no_weight():
    """Defects D1 to D3 together; with the paper's coefficients there is nothing to disagree about."""
    assert set(ALIVE) == set(ablate.AXES)
    script, axis = {"input_precond": "script", "parameterization": "script"}, ALIVE["sampling_precond"]
    (trained, own), (same, foreign) = outcome(**script), outcome(**script, **axis)
    assert torch.equal(trained, same)
    assert not torch.equal(own, foreign)


def test_the_schedulers_coefficients_are_the_papers(plain):
    assert torch.equal(plain[1], outcome(**ALIVE["sampling_precond"])[1])


def test_one_vector_holds_all_weights_and_gradients():
    t = trainer()
    assert torch.equal(weights(t.network).sort().values, t.weights.detach().sort().values)
    before = t.weights.detach().clone()
    t.step()
    assert not torch.equal(before, t.weights)
    assert t.weights.grad.shape == t.weights.shape
    assert all(p.grad is None for p in t.network.parameters())


def test_a_flat_optimizer_steps_as_a_list_of_parameters_does():
    t, images_ = trainer(**{"network.dropout": 0.0}), images()
    from ablate.training.functions import Functions
    from ablate.training.loss import consistency
    from ablate.training.trainer import build_network

    network = build_network(t.recipe, images_.shape, 0, "cpu")
    f = t.f.with_network(network)
    optimizer = t.recipe.optimizer(network.parameters())
    for k in range(4):
        optimizer.zero_grad()
        consistency(t.recipe, Functions(f, f, f), t.draws(k), k, t.K).loss.backward()
        optimizer.step()
        t.step()
    torch.testing.assert_close(weights(network), weights(t.network))


def labelled(share=0.0, **changes):
    """A training on images of three classes."""
    data = Data(name="digits", flip=True, labels=True, label_dropout=share)
    profile = PROFILE.model_copy(update={"data": data})
    recipe = ablate.apply(ablate.load_recipe("ict"), {**SMALL, **changes}).for_images((1, 8, 8))
    three = dataclasses.replace(images(), train_labels=torch.arange(40) % 3, classes=3)
    return Trainer(recipe, profile, three, 0)


def test_labels_are_those_of_the_images_and_some_are_dropped():
    whole, some, none = (labelled(share).draws(2).label for share in (0.0, 0.5, 1.0))
    chosen = batch_indices(0, 2, 8, 40)
    assert torch.equal(whole.argmax(1), chosen % 3)
    assert torch.equal(whole.sum(1), torch.ones(8))
    assert none.sum() == 0
    kept = some.sum(1) == 1
    assert 0 < kept.sum() < 8
    assert torch.equal(some[kept], whole[kept])
    assert trainer().draws(2).label is None


def test_labels_change_no_other_draw_and_no_other_weight():
    a, b = trainer(), labelled(0.5)
    for name in ("x", "z", "u"):
        assert torch.equal(getattr(a.draws(3), name), getattr(b.draws(3), name))
    mine, answer = a.network.state_dict(), b.network.state_dict()
    assert set(answer) - set(mine) == {"condition.label.weight"}
    assert all(torch.equal(mine[k], answer[k]) for k in mine)


def test_a_labelled_training_learns_its_labels_and_samples_the_classes_in_turn():
    t = labelled(optimizer={"name": "adam", "lr": 0.001}, averaging={"name": "constant", "decay": 0.0})
    losses(t, 3)
    before = labelled().network.condition.label.weight
    assert not torch.equal(t.network.condition.label.weight, before)
    assert t.average.labels(5).argmax(1).tolist() == [0, 1, 2, 0, 1]
    x = generate(t.average, (1, 8, 8), 5, [80.0], 0.002, batch=2)
    t.average.classes = 0
    assert not torch.equal(x, generate(t.average, (1, 8, 8), 5, [80.0], 0.002, batch=2))


def test_a_labelled_run_resumes_bit_by_bit():
    whole, first, second = labelled(0.3), labelled(0.3), labelled(0.3)
    undisturbed, begun = losses(whole, 5), losses(first, 2)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert begun + losses(second, 3) == undisturbed


def test_the_weights_of_a_labelled_cell_tell_their_classes(tmp_path):
    from safetensors.torch import save_file

    from ablate.inference import model
    from ablate.planning.cells import Cell

    t = labelled()
    weights = {k: v.contiguous() for k, v in t.average.network.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", {"classes": "3"})
    cell = Cell("key", t.recipe, t.profile, 0, "mark")
    loaded = model._model(cell, (1, 8, 8), tmp_path / "model.safetensors", "cpu")
    assert loaded.f.classes == 3
    torch.testing.assert_close(loaded.sample(4), generate(t.average, (1, 8, 8), 4, [80.0], 0.002))


@pytest.mark.parametrize("sharing", ["shared", "separate"])
@pytest.mark.parametrize("coupling", ["independent", "minibatch_ot"])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(sharing, coupling):
    """Dropout masks included: a part passes its rows of them."""

    def gradient(parts):
        fields = {"dropout_sharing": sharing, "coupling": coupling, "network.dropout": 0.3}
        t = trainer(profile=PROFILE.model_copy(update={"accumulate": parts}), **fields)
        steps = [t.step() for _ in range(2)]
        return t.weights.grad, torch.stack([s.loss for s in steps]), steps[-1].terms.sigma_student

    whole, parts = gradient(1), gradient(4)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_profile_refuses_parts_that_are_not_equal_and_dropped_labels_that_are_not_there():
    with pytest.raises(ValueError, match="accumulate must divide batch"):
        Profile(name="p", data=Data(name="digits"), batch=8, images=80, accumulate=3)
    with pytest.raises(ValueError, match="needs labels"):
        Data(name="digits", label_dropout=0.1)


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_as_the_recipe_says(allowed):
    trainer(precision={"name": "fp32", "tf32": allowed}).step()
    assert torch.backends.cuda.matmul.allow_tf32 is allowed
    assert torch.backends.cudnn.allow_tf32 is allowed


def test_the_gradient_is_of_the_loss_by_the_networks_output():
    """Against the derivative of one image's loss, written out with the coefficients; in parts of a batch too."""
    for changes in ({}, {"precision": "bf16"}):
        whole, parts = (trainer(**changes) for _ in range(2))
        parts.profile = parts.profile.model_copy(update={"accumulate": 2})
        expected = by_hand(trainer(**changes))
        for t, tolerance in ((whole, 1e-5), (parts, 1e-5)):
            found = t.step().terms.gradient
            torch.testing.assert_close(found, expected, rtol=tolerance, atol=0)


def by_hand(t):
    """Norms of d(weight distance) / dF of every image of the first step, F the network's output."""
    t.shares = t.recipe.dropout_sharing("cpu")
    draws, outputs = t.draws(0), []
    t._mask("dropout")
    t.network.register_forward_hook(lambda module, args, out: outputs.append(out))
    lo, hi = t.recipe.pairing(0, t.K, draws.u)
    wide = (slice(None), None, None, None)
    with torch.no_grad():
        target = t.teacher(draws.x + lo.float()[wide] * draws.z, lo)
    t.f(draws.x + hi.float()[wide] * draws.z, hi)
    F = outputs[-1].detach().float().requires_grad_()
    c = t.f.coefficients(hi)
    y = c["c_skip"][wide] * (draws.x + hi.float()[wide] * draws.z) + c["c_out"][wide] * F
    loss = t.recipe.weighting(lo, hi).float() * t.recipe.metric(y, target)
    return torch.autograd.grad(loss.sum(), F)[0].flatten(1).norm(dim=1)
