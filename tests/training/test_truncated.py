"""TCM (arXiv 2410.14895): a boundary share of the batch, and a teacher that is another cell's network below a level."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from helpers import devices
from helpers.tiny_training import PROFILE, images, losses, recipe, saved, trainer, weights

import ablate
from ablate.doctor.training import _shared, _twice
from ablate.training.denoiser import Denoiser
from ablate.training.functions import Functions
from ablate.training.loss import Draws, consistency
from ablate.training.trainer import Trainer
from ablate.training.truncated import Truncated

g = torch.Generator().manual_seed(0)
x, z = torch.randn(2, 8, 1, 4, 4, generator=g)
u = torch.tensor([0.1, 0.9, 0.3, 0.2, 0.5, 0.7, 0.26, 0.99], dtype=torch.float64)  # a quarter below 0.25
wide = (slice(None), None, None, None)
K = 80


class Shifted(torch.nn.Module):
    """F = tanh(w x + c_noise); counts its passes."""

    def __init__(self, w):
        super().__init__()
        self.w, self.seen = torch.nn.Parameter(torch.tensor(w)), 0

    def forward(self, inputs, c_noise, label=None):
        self.seen += 1
        return torch.tanh(self.w * inputs.roll(1, 3) + c_noise[wide])


def made(**changes):
    return ablate.apply(ablate.load_recipe("tcm"), changes).from_scratch()


def networks(tested, student=0.7, frozen=-0.4):
    """A student, and the teacher that is another network below the level."""
    f, other = Denoiser(tested, Shifted(student)), Denoiser(tested, Shifted(frozen))
    return f, Truncated(f, other, tested.teacher.level)


def terms(tested, **weights_of):
    f, teacher = networks(tested, **weights_of)
    return consistency(tested, Functions(f, teacher, f), Draws(x, z, u), 3, K)


@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_the_loss_is_the_mean_above_plus_the_weighted_mean_at_the_boundary(weight):
    """By hand, from TCM's equations; two of the eight images are at the boundary, as the share says."""
    tested = made(**{"pairing.boundary": weight})
    low, level = (0.3, 0.15, -0.4), 0.8
    f, teacher = networks(tested, student=low[0], frozen=low[2])
    found = consistency(tested, Functions(f, teacher, f), Draws(x, z, u), 3, K)
    at = u < 0.25
    t = tested.noise.quantile((u - 0.25).clamp(min=0) / 0.75, tested.levels)
    t = torch.where(at, level, t)
    r = t * (1 - (1 + 8 * torch.sigmoid(-t)) / 256)
    torch.testing.assert_close(found.sigma_student, t)
    torch.testing.assert_close(tested.pairing(3, K, u)[0], r)
    y = f(x + t.float()[wide] * z, t)
    own, other = f(x + r.float()[wide] * z, r), teacher.frozen(x + r.float()[wide] * z, r)
    target = torch.where((r >= level)[wide], own, other)
    each = (y - target).flatten(1).norm(dim=1) / (t - r).float()
    torch.testing.assert_close(found.loss, each[~at].mean() + weight * each[at].mean())


def test_without_a_weight_all_images_count_the_same():
    """Which is a boundary weight of share / (1 - share), up to the factor 1 - share of the whole."""
    tested = made(**{"pairing.boundary": None})
    plain, weighted = terms(tested), terms(made(**{"pairing.boundary": 1 / 3}))
    torch.testing.assert_close(plain.loss, 0.75 * weighted.loss)
    low, high = tested.pairing(3, K, u)
    torch.testing.assert_close(plain.weight, (1 / (high - low)).float())


def test_a_share_of_0_leaves_levels_and_weights_alone():
    without = made(**{"pairing.boundary_share": 0.0})
    found = terms(without)
    assert torch.equal(found.sigma_student, without.noise.quantile(u, without.levels))
    low, high = without.pairing(3, K, u)
    assert torch.equal(found.weight, (1 / (high - low)).float())


@pytest.mark.parametrize("share", [0.05, 0.25, 0.6])
@pytest.mark.parametrize("noise", ["student_t", "lognormal"])
def test_the_share_is_drawn_at_the_level_and_the_rest_from_the_whole_distribution(share, noise):
    tested = made(**{"noise": noise, "pairing.boundary_share": share})
    drawn = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    _, t = tested.pairing(0, K, drawn)
    at = t == 0.8
    assert float(at.double().mean()) == pytest.approx(share, abs=0.015)
    places = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    quantiles = tested.noise.quantile(places, tested.levels)
    share_below = (t[~at][:, None] <= quantiles).double().mean(0)
    torch.testing.assert_close(share_below, places, atol=0.02, rtol=0)
    counted = tested.pairing.counted(torch.ones_like(t), t)
    assert float(counted[at].sum() / len(t)) == pytest.approx(0.1, rel=0.3)  # the weight, in expectation
    assert float(counted[~at].sum() / len(t)) == pytest.approx(1, abs=0.04)


def test_how_a_batch_is_split_changes_nothing():
    changes = {"network.dropout": 0.0}
    whole, parts = (
        Trainer(small(**changes), PROFILE.model_copy(update={"accumulate": n}), images(), 0) for n in (1, 8)
    )
    assert losses(whole, 4) == pytest.approx(losses(parts, 4), rel=1e-4)


def small(**changes):
    return recipe("tcm", **changes).from_scratch()


@pytest.mark.parametrize("level", [0.002, 0.8, 79.0])
def test_the_frozen_network_decides_below_the_level_only(level):
    f, teacher = networks(made())
    teacher.level = level
    sigma = torch.tensor([0.002, 0.1, 0.79, 0.8, 0.81, 5.0, 78.9, 80.0], dtype=torch.float64)
    found, below = teacher(x, sigma), sigma < level
    assert torch.equal(found[below], teacher.frozen(x, sigma)[below])
    assert torch.equal(found[~below], f(x, sigma)[~below])
    with torch.no_grad():
        teacher.frozen.network.w.fill_(float("nan"))
    assert torch.equal(teacher(x, sigma).isnan().flatten(1).any(1), below)


def test_a_frozen_copy_of_the_student_is_no_frozen_network():
    """With the same weights on both sides the loss is that of the student as its own teacher, to the last bit."""
    tested = made()
    alone = Denoiser(tested, Shifted(0.7))
    plain = consistency(tested, Functions(alone, alone, alone), Draws(x, z, u), 3, K)
    assert torch.equal(plain.distance, terms(tested, student=0.7, frozen=0.7).distance)
    assert not torch.equal(plain.distance, terms(tested, student=0.7, frozen=-0.4).distance)


@pytest.mark.parametrize(
    "pairing",
    ["grid", "continuous", {"name": "alpha_flow", "temperature": 0.0}],
    ids=["grid", "continuous", "alpha_flow"],
)
def test_other_pairings_have_the_frozen_teacher_too(pairing):
    tested = made(pairing=pairing, noise="lognormal")
    a, b = terms(tested, frozen=0.7), terms(tested, frozen=-0.4)
    below = tested.pairing(3, K, u)[0] < 0.8
    assert 0 < int(below.sum()) < 8
    assert torch.equal(a.distance[~below], b.distance[~below])
    assert (a.distance[below] != b.distance[below]).all()


def finished(folder, seed=5):
    """A training's folder as a cell leaves it, and the recipe that reads it as its teacher."""
    folder.mkdir()
    source = trainer(seed=seed, base="ect_tuned", init_from="scratch")
    losses(source, 3)
    saved(folder, source)
    own = recipe("tcm", init_from="scratch")
    return source, dataclasses.replace(own, teacher=own.teacher.given(folder))


def test_the_cells_weights_are_loaded_stay_and_are_in_no_checkpoint(tmp_path):
    source, tested = finished(tmp_path / "a")
    a, b, c = (Trainer(tested, PROFILE, images(), 0) for _ in range(3))
    assert torch.equal(weights(a.teacher.frozen.network), weights(source.network))
    begun = losses(a, 4)
    assert torch.equal(weights(a.teacher.frozen.network), weights(source.network))
    assert set(a.state_dict()) == {"k", "network", "average", "optimizer", "scaler"}
    assert losses(c, 8)[:4] == begun
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    assert losses(b, 2) == losses(a, 2)
    other = Trainer(finished(tmp_path / "b", seed=6)[1], PROFILE, images(), 0)
    assert losses(other, 4) != begun


def test_the_frozen_network_trains_with_the_masks_of_the_student():
    t = Trainer(small(), PROFILE, images(), 0)
    assert t.teacher.frozen.network.training
    calls, _ = _twice(t, (1, 8, 8))
    assert _shared(t, calls) == 1
    with torch.no_grad():
        for network in (t.network, t.teacher.frozen.network):
            for p in network.parameters():
                p.fill_(0.05)
    noisy, sigma = torch.randn(8, 1, 8, 8, generator=g), torch.full((8,), 2.0, dtype=torch.float64)
    assert torch.equal(t.teacher.frozen(noisy, sigma), t.f(noisy, sigma))
    assert not any(p.requires_grad for p in t.teacher.frozen.network.parameters())


def test_only_a_planned_run_has_the_cell():
    with pytest.raises(ablate.SpecError, match="only `run` and `study` know the cell"):
        Trainer(recipe("tcm", init_from="scratch"), PROFILE, images(), 0)


@pytest.mark.parametrize("noise", ["lognormal", "uniform"])
def test_a_whole_step_waits_for_nothing(noise):
    """`student_t` waits for scipy."""
    with devices.absent("meta"):
        t = Trainer(small(noise=noise), PROFILE, devices.images("meta"), 0, "meta")
        with devices.Waits() as seen:
            t.step()
    assert seen.found == []
