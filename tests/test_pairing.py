from __future__ import annotations

import pytest
import torch

import ablate

recipe = ablate.load_recipe("ict")
u = torch.rand(4000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_pairs_are_neighbours_of_the_ladder():
    lo, hi = recipe.pairing(0, 400, u)
    ladder = recipe.levels(recipe.curriculum(0, 400))
    i = torch.searchsorted(ladder, lo)
    assert torch.equal(ladder[i], lo)
    assert torch.equal(ladder[i + 1], hi)


def test_u_is_an_inverse_cdf():
    lo, _ = recipe.pairing(0, 400, torch.linspace(0, 1, 1000, dtype=torch.float64)[:-1])
    assert (lo.diff() >= 0).all()


def test_pairs_are_drawn_with_the_probability_of_the_noise():
    lo, _ = recipe.pairing(0, 400, u)
    ladder = recipe.levels(11)
    seen = torch.bincount(torch.searchsorted(ladder, lo), minlength=10) / len(u)
    torch.testing.assert_close(seen.double(), recipe.noise(ladder), atol=0.03, rtol=0)


def test_the_ends_of_u_stay_on_the_ladder():
    lo, hi = recipe.pairing(399, 400, torch.tensor([0.0, 1 - 1e-16], dtype=torch.float64))
    assert float(lo[0]) == pytest.approx(0.002)
    assert float(hi[1]) == pytest.approx(80)


def test_skip_steps_widen_the_gap_and_stop_at_the_top():
    wide = ablate.apply(recipe, {"pairing.skip_steps": 3})
    lo, hi = wide.pairing(0, 400, u)
    ladder = recipe.levels(11)
    i, j = torch.searchsorted(ladder, lo), torch.searchsorted(ladder, hi)
    assert torch.equal(j, (i + 3).clamp(max=10))
