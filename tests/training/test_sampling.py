from __future__ import annotations

import pytest
import torch
from helpers.small_networks import Zero

import ablate
from ablate.training.denoiser import Denoiser
from ablate.training.sampling import generate, noise, sample

recipe = ablate.load_recipe("ict")


f = Denoiser(recipe, Zero())


def test_noise_of_an_image_is_the_same_however_many_are_drawn():
    a, b = noise(3, (1, 4, 4), 200, 0, "cpu"), noise(3, (1, 4, 4), 70, 0, "cpu")
    assert torch.equal(a[:70], b)
    assert not torch.equal(a, noise(3, (1, 4, 4), 200, 1, "cpu"))
    assert not torch.equal(a, noise(4, (1, 4, 4), 200, 0, "cpu"))


def test_one_step_is_f_at_sigma_max():
    z = noise(0, (1, 4, 4), 5, 0, "cpu")
    top = torch.full((5,), 80.0, dtype=torch.float64)
    torch.testing.assert_close(sample(f, [z], [80.0], 0.002), f(80 * z, top))


def test_the_second_step_adds_noise_up_to_its_level():
    z = [noise(0, (1, 4, 4), 5, s, "cpu") for s in (0, 1)]
    first = sample(f, z[:1], [80.0], 0.002)
    t = torch.full((5,), 0.821, dtype=torch.float64)
    wanted = f(first + (0.821**2 - 0.002**2) ** 0.5 * z[1], t)
    torch.testing.assert_close(sample(f, z, [80.0, 0.821], 0.002), wanted)


def test_a_last_step_at_sigma_min_changes_nothing():
    z = [noise(0, (1, 4, 4), 5, s, "cpu") for s in (0, 1)]
    torch.testing.assert_close(sample(f, z, [80.0, 0.002], 0.002), sample(f, z[:1], [80.0], 0.002))


@pytest.mark.parametrize("batch", [3, 64, 1000])
def test_batches_do_not_change_the_images(batch):
    torch.testing.assert_close(
        generate(f, (1, 4, 4), 10, [80.0, 1.0], 0.002, batch=batch),
        generate(f, (1, 4, 4), 10, [80.0, 1.0], 0.002),
    )


def test_generation_leaves_the_mode_and_the_global_stream_alone():
    f.network.train()
    before = torch.get_rng_state()
    generate(f, (1, 4, 4), 4, [80.0], 0.002)
    assert f.network.training
    assert torch.equal(before, torch.get_rng_state())
