from __future__ import annotations

import contextlib
import copy
import dataclasses

import pytest
import torch
from helpers.tiny_training import PROFILE, images, losses, recipe, saved, trainer, weights

import ablate
from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.data.datasets import Images
from ablate.ingredients.direction import Point
from ablate.training.denoiser import Denoiser
from ablate.training.functions import Functions
from ablate.training.loss import Draws, consistency, derivative
from ablate.training.trainer import Trainer

SIGMAS = (0.002, 0.3, 4.0, 80.0)
g = torch.Generator().manual_seed(0)
x, z = torch.randn(2, 6, 1, 4, 4, generator=g)
u = torch.rand(6, generator=g, dtype=torch.float64)
wide = (slice(None), None, None, None)


def point(x, z, sigma, among=None, label=None, labels=None, denoiser=None):
    levels = torch.full((len(x),), sigma, dtype=torch.float64)
    images = x if among is None else among
    return Point(x, z, x + sigma * z, levels, label, images, labels, denoiser)


def posterior_mean(x_hi, sigma, among):
    """E[x | x_hi] of images that are equally likely, by Bayes' rule with the normal densities."""
    normal = torch.distributions.Normal(among.double().flatten(1)[None], sigma)
    density = normal.log_prob(x_hi.double().flatten(1)[:, None]).sum(2)
    share = torch.exp(density - density.logsumexp(1, keepdim=True))
    return torch.einsum("bn,nchw->bchw", share, among.double())


@pytest.mark.parametrize("coupling", ["minibatch_ot", "generator", "own"])
def test_a_mean_over_images_needs_noise_that_knows_none_of_them(coupling):
    with contextlib.ExitStack() as stack:
        if coupling == "own":  # an option of yours says itself that it is independent
            option = type("Own", (), {"__call__": lambda self, x, z, step=None: (x, z)})
            ablate.AXES["coupling"]("own")(dataclasses.dataclass(frozen=True)(option))
            stack.callback(ablate.AXES["coupling"].options.pop, "own")
        with pytest.raises(
            SpecError, match=f"coupling: {coupling}: direction reference takes image and noise as ind"
        ):
            recipe(direction="reference", coupling=coupling)
        recipe(coupling=coupling)
    recipe(direction="reference")


class Smooth(torch.nn.Module):
    """F = tanh(w x + c_noise)."""

    def forward(self, inputs, c_noise, label=None):
        return torch.tanh(0.7 * inputs.roll(1, 3) + c_noise[wide])


def terms(draws=None, **changes):
    made = ablate.apply(ablate.load_recipe("ict"), changes)
    f = Denoiser(made, Smooth())
    return consistency(made, Functions(f, f, f), draws or Draws(x, z, u), 3, 80)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_noise_and_a_reference_of_one_image_are_z_exactly(sigma):
    noise, reference = (ablate.build("direction", name) for name in ("noise", "reference"))
    assert torch.equal(noise(point(x, z, sigma)), z)
    for i in range(6):
        one = point(x[i : i + 1], z[i : i + 1], sigma)
        assert torch.equal(reference(one), z[i : i + 1])


@pytest.mark.parametrize("pairing", ["grid", "ect", "continuous", "denoising"])
def test_with_a_reference_of_one_image_losses_are_those_of_noise_to_the_last_bit(pairing):
    draws = Draws(x[:1], z[:1], u[:1])
    alone = terms(draws, pairing=pairing, direction="reference")
    assert torch.equal(terms(draws, pairing=pairing).distance, alone.distance)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_reference_leads_to_the_posterior_mean(sigma):
    at = point(x, z, sigma)
    found = at.x_hi - sigma * ablate.build("direction", "reference")(at)
    mean = posterior_mean(at.x_hi, sigma, x).float()
    torch.testing.assert_close(found, mean, atol=2e-5 * max(sigma, 1), rtol=0)


@pytest.mark.parametrize("sigma", [0.2, 0.7, 2.0])
def test_a_reference_is_the_mean_of_the_noise_given_the_noisy_image(sigma):
    """Then E[z h(x_hi)] = E[direction h(x_hi)] for every function h, and its variance is smaller."""
    few = torch.tensor([-0.9, 0.1, 0.8])[:, None, None, None]
    drawn = few[torch.randint(3, (40_000,), generator=g)]
    noise = torch.randn(drawn.shape, generator=g)
    at = point(drawn, noise, sigma, among=few)
    d = ablate.build("direction", "reference")(at)
    for h in (torch.ones_like, torch.tanh, torch.square):
        gap = ((noise - d) * h(at.x_hi)).flatten()
        assert float(gap.mean().abs()) < 4 * float(gap.std()) / 200
    assert float(d.var()) < float(noise.var())


def test_an_image_with_a_class_is_compared_with_its_class_and_one_without_with_all():
    label = torch.eye(2)[[0, 1, 0, 1, 0, 1]]
    label[0] = 0
    at = point(x, z, 2.0, label=label, labels=label)
    found = at.x_hi - 2.0 * ablate.build("direction", "reference")(at)
    for i, among in ((0, x), (1, x[1::2]), (2, x[[2, 4]]), (3, x[1::2])):
        mean = posterior_mean(at.x_hi[i : i + 1], 2.0, among).float()
        torch.testing.assert_close(found[i : i + 1], mean, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_network_that_is_the_posterior_mean_equals_the_reference(sigma):
    def exact(x_hi, sigma, label, until=None):
        return posterior_mean(x_hi, float(sigma[0]), x).float()

    at = point(x, z, sigma, denoiser=exact)
    option = ablate.build("direction", {"name": "network", "recipe": "edm"})
    reference = ablate.build("direction", "reference")(at)
    torch.testing.assert_close(option(at), reference, atol=1e-5 / min(sigma, 1), rtol=1e-5)


@pytest.mark.parametrize("direction", ["noise", "reference"])
def test_the_derivative_along_a_direction_agrees_with_finite_differences(direction):
    f = Denoiser(ablate.load_recipe("ict"), Smooth())
    for sigma, step in ((0.5, 2e-3), (2.0, 1e-2), (20.0, 0.1)):
        at = point(x, z, sigma)
        d = ablate.build("direction", direction)(at)
        there, back = (f(at.x_hi + e * d, at.sigma + e) for e in (step, -step))
        slope = derivative(f, at.x_hi, at.sigma, d)
        torch.testing.assert_close(slope, (there - back) / (2 * step), atol=2e-3, rtol=2e-2)


def test_the_teachers_image_is_an_euler_step_from_the_students():
    made = ablate.apply(ablate.load_recipe("ict"), {"direction": "reference", "input_precond": "none"})
    seen = []

    class Seeing(Smooth):
        def forward(self, inputs, c_noise, label=None):
            seen.append(inputs)
            return super().forward(inputs, c_noise)

    f = Denoiser(made, Seeing())
    t = consistency(made, Functions(f, f, f), Draws(x, z, u), 3, 80)
    low, high = seen
    torch.testing.assert_close(high, x + t.sigma_student.float()[wide] * z)
    d = made.direction(Point(x, z, high, t.sigma_student, None, x, None))
    step = (made.pairing(3, 80, u)[0] - t.sigma_student).float()[wide] * d
    torch.testing.assert_close(low, high + step, atol=1e-4, rtol=1e-5)


def test_further_images_are_of_the_next_steps_and_none_twice():
    t = trainer(direction={"name": "reference", "more": 30})
    for k in (0, 3, 4, 9):
        draws = t.draws(k)
        found = draws.among[0]
        assert torch.equal(found[:8], draws.x)
        assert 8 < len(found) <= 38
        assert len(found[8:].flatten(1).unique(dim=0)) == len(found) - 8
    assert len(t.draws(0).among[0]) == 38
    assert trainer().draws(0).among is None
    assert torch.equal(t.draws(0).z, trainer().draws(0).z)


def test_further_images_have_their_classes():
    made = Images(images().train, torch.arange(40) % 3, images().train[:4], torch.zeros(4), 3, "x")
    data = Data(name="digits", labels=True)
    profile = PROFILE.model_copy(update={"data": data})
    t = Trainer(recipe(direction={"name": "reference", "more": 12}), profile, made, 0)
    found, labels = t.draws(1).among
    pixels = (found * 127.5 + 127.5).round().to(torch.uint8)
    for image, label in zip(pixels, labels, strict=True):
        place = (made.train == image).flatten(1).all(1).nonzero()[0, 0]
        assert int(label.argmax()) == place % 3
    t.step()


def test_micro_batches_compare_with_the_images_of_the_whole_step():
    changes = {"direction": "reference", "network.dropout": 0.0}
    whole, parts = (trainer(profile=PROFILE.model_copy(update={"accumulate": n}), **changes) for n in (1, 4))
    assert losses(whole, 3) == pytest.approx(losses(parts, 3), rel=1e-4)


NETWORK = {"direction": {"name": "network", "recipe": "edm"}}


def test_a_finished_network_is_loaded_and_stays_as_it_is(tmp_path):
    source = trainer(seed=5)
    saved(tmp_path, source)
    made = recipe(**NETWORK).given({"direction": tmp_path})
    a, b, c = (Trainer(made, PROFILE, images(), 0) for _ in range(3))
    assert torch.equal(weights(a.functions.denoiser.network), weights(source.network))
    begun = losses(a, 4)
    assert torch.equal(weights(a.functions.denoiser.network), weights(source.network))
    assert not any("denoiser" in name for name in a.state_dict())
    assert losses(c, 8)[:4] == begun
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    assert losses(b, 2) == losses(a, 2)


def test_a_finished_network_changes_training_by_its_weights_and_has_no_dropout(tmp_path):
    outcomes = []
    for seed in (5, 6):
        source = trainer(seed=seed)
        losses(source, 4)
        made = recipe(**NETWORK).given({"direction": saved_in(tmp_path / str(seed), source)})
        t = Trainer(made, PROFILE, images(), 0)
        outcomes.append(losses(t, 4))
        assert not t.functions.denoiser.network.training
        assert t.network.training
    assert outcomes[0] != outcomes[1]


def saved_in(folder, t):
    folder.mkdir()
    saved(folder, t)
    return folder


def test_checks_and_timings_take_random_weights_and_training_refuses_them():
    made = recipe(**NETWORK)
    with pytest.raises(ablate.SpecError, match="only `run` and `study` know the cell"):
        Trainer(made, PROFILE, images(), 0)
    losses(Trainer(made.from_scratch(), PROFILE, images(), 0), 2)
    both = dataclasses.replace(made, init_from=ablate.build("init_from", {"name": "run", "key": "ab"}))
    assert both.from_scratch().init_from.name == "scratch"
    assert recipe("ict").from_scratch() == recipe("ict")


def test_further_images_are_mirrored_as_those_of_the_step_are():
    profile = PROFILE.model_copy(update={"data": Data(name="digits", flip=True)})
    t = Trainer(recipe(direction={"name": "reference", "more": 30}), profile, images(), 0)
    plain = (images().train.float() / 127.5 - 1, (images().train.float() / 127.5 - 1).flip(3))
    mirrored = [
        [any(torch.equal(image, one) for one in side) for side in plain] for image in t.draws(0).among[0][8:]
    ]
    assert all(any(found) for found in mirrored)
    assert {tuple(found) for found in mirrored} >= {(True, False), (False, True)}
