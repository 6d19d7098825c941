"""Embeddings are their formulas, the same for every recipe, and tell levels apart as their scale says."""

from __future__ import annotations

import math

import pytest
import torch

from ablate.core.errors import SpecError
from ablate.core.registry import build
from ablate.ingredients.embedding import FREQUENCY_SEED, Fourier, Positional, frequencies, kept_frequencies

C_NOISE = torch.linspace(0.002, 80, 7, dtype=torch.float64).log() / 4


def test_fourier_is_its_formula():
    f = torch.randn(8, generator=torch.Generator().manual_seed(FREQUENCY_SEED)) * 0.5
    phase = 2 * math.pi * C_NOISE.float()[:, None] * f
    torch.testing.assert_close(Fourier(0.5, 16)(C_NOISE), torch.cat([phase.cos(), phase.sin()], 1))


def test_positional_is_its_formula():
    f = torch.tensor([10000.0 ** (-j / 8) for j in range(8)])
    phase = C_NOISE.float()[:, None] * f
    torch.testing.assert_close(Positional(16)(C_NOISE), torch.cat([phase.cos(), phase.sin()], 1))


@pytest.mark.parametrize("embedding", [Fourier(), Fourier(16.0, 64), Positional(), Positional(6, 50)])
def test_shape_dtype_and_norm(embedding):
    out = embedding(C_NOISE)
    assert out.shape == (7, embedding.channels)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.square().sum(1), torch.full((7,), embedding.channels / 2))


def test_frequencies_ignore_and_keep_the_default_stream():
    state = torch.get_rng_state()
    kept_frequencies.clear()
    first = Fourier()(C_NOISE)
    assert torch.equal(torch.get_rng_state(), state)
    kept_frequencies.clear()
    torch.manual_seed(5)
    assert torch.equal(Fourier()(C_NOISE), first)


def test_scale_is_the_deviation_of_the_frequencies():
    cpu = torch.device("cpu")
    torch.testing.assert_close(frequencies(512, 16.0, cpu), 800 * frequencies(512, 0.02, cpu))
    assert 0.9 < frequencies(512, 1.0, cpu).std() < 1.1


def _distance(scale: float, low: float, high: float) -> float:
    pair = Fourier(scale)(torch.tensor([low, high]))
    return torch.dist(pair[0], pair[1]).item()


def test_two_levels_are_further_apart_at_a_larger_scale():
    distances = [_distance(s, 0.0, 0.1) for s in (0.005, 0.02, 0.1, 0.5, 1.0)]
    assert distances == sorted(distances)


def test_raw_sigma_hides_the_levels_that_its_logarithm_shows():
    low, high = 0.002, 0.5
    assert _distance(0.02, math.log(low) / 4, math.log(high) / 4) > 2 * _distance(0.02, low, high)


@pytest.mark.parametrize("name", ["fourier", "positional"])
def test_odd_channels_are_refused(name):
    with pytest.raises(SpecError, match=r"even number.*got 5"):
        build("embedding", {"name": name, "channels": 5})


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "fourier", "scale": 0},
        {"name": "fourier", "channels": 0},
        {"name": "positional", "max_positions": -1.0},
    ],
)
def test_bounds(spec):
    with pytest.raises(SpecError, match="greater than"):
        build("embedding", spec)


def test_frequencies_drawn_while_sampling_can_be_trained_with():
    kept_frequencies.clear()
    with torch.inference_mode():
        Fourier()(C_NOISE)
    c_noise = C_NOISE.clone().requires_grad_()
    Fourier()(c_noise).sum().backward()
    assert c_noise.grad is not None
