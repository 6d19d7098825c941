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


def ect(**fields):
    return ablate.build("pairing", {"name": "ect", **fields})


def test_ect_draws_the_lognormal_of_its_fields():
    _, t = ect()(0, 400, u)
    inside = t[(t > 0.0021) & (t < 79)].log()
    assert float(inside.mean()) == pytest.approx(-1.1, abs=0.1)
    assert float(inside.std()) == pytest.approx(2.0, abs=0.1)
    torch.testing.assert_close(ect()(0, 400, torch.tensor([0.5]))[1].log(), torch.tensor([-1.1]).double())


@pytest.mark.parametrize(("k", "stage"), [(0, 0), (49, 0), (50, 1), (399, 7)])
def test_the_gap_of_ect_shrinks_by_q_at_every_stage(k, stage):
    r, t = ect(q=3.0)(k, 400, u)
    wanted = t * (1 - (1 + 8 / (1 + t.exp())) / 3.0 ** (stage + 1))
    torch.testing.assert_close(r, wanted.clamp(min=0.002))


def test_the_last_pairs_of_the_one_hour_script_are_those_of_the_long_one():
    for a, b in zip(ect()(399, 400, u), ect(q=256.0, stages=1)(399, 400, u), strict=True):
        torch.testing.assert_close(a, b)


def test_ect_stays_between_the_ends_and_keeps_a_gap():
    r, t = ect()(0, 400, torch.cat([u, torch.tensor([0.0, 1 - 1e-16]).double()]))
    assert float(r.min()) == 0.002
    assert float(t.max()) == 80
    assert float((t - r).min()) >= 0.002 * 0.99e-3


def test_the_ect_recipe_starts_as_regression_to_the_image_below_ln_7():
    """n(t) > q = 2 while sigmoid(-t) > 1/8."""
    r, t = ablate.load_recipe("ect").pairing(0, 400, u)
    assert torch.equal(r[t > 1.95] > 0.002, torch.ones(int((t > 1.95).sum()), dtype=torch.bool))
    assert (r[t < 1.94] == 0.002).all()


def test_in_continuous_time_both_levels_are_one_of_the_limit_density():
    continuous = ablate.apply(recipe, {"pairing": "continuous"}).pairing
    lo, hi = continuous(3, 400, u)
    assert torch.equal(lo, hi)
    assert torch.equal(hi, continuous.noise.quantile(u, continuous.levels))
    ladder = continuous.levels(1281)
    torch.testing.assert_close(
        continuous.gap(ladder[640:641]), ladder[641:642] - ladder[640:641], rtol=1e-2, atol=0
    )


def test_continuous_time_needs_a_noise_with_a_limit():
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Bare:
        axis, name = "noise", "bare"

        def __call__(self, sigma):
            return sigma[1:]

    with pytest.raises(ablate.SpecError, match=r"needs `quantile`, which noise\.bare lacks"):
        type(ablate.build("pairing", "continuous"))(noise=Bare())


@pytest.mark.parametrize(("cap", "k"), [(0.5, 0), (0.9, 399), (0.999, 399)])
def test_a_cap_bounds_the_ratio_before_the_sigmoid_widens_the_pair(cap, k):
    r, t = ect(q=4.0, stages=8, cap=cap)(k, 400, u)
    stage = 8 * k // 400
    ratio = min(1 - 4.0 ** -(stage + 1), cap)
    torch.testing.assert_close(r, (t * (1 - (1 - ratio) * (1 + 8 / (1 + t.exp())))).clamp(min=0.002))


def test_without_a_cap_pairs_are_what_they_were_and_so_is_the_key():
    made = ablate.load_recipe("ect")
    assert "pairing.cap" not in made.keyed()
    assert "pairing.cap" in ablate.apply(made, {"pairing.cap": 0.999}).keyed()
    capped = ect(cap=0.9999)
    for a, b in zip(ect()(399, 400, u), capped(399, 400, u), strict=True):
        assert torch.equal(a, b)


def test_fields_of_the_tangent_are_no_part_of_the_key_of_older_cells():
    made = ablate.apply(recipe, {"pairing": "continuous"})
    assert {k for k in made.keyed() if k.startswith("pairing.")} == {"pairing.intervals"}


def test_denoising_draws_its_own_lognormal_below_sigma_max():
    r, t = ablate.build("pairing", "denoising")(0, 400, u)
    assert (r == 0.002).all()
    assert float(t.log().mean()) == pytest.approx(-1.2, abs=0.1)
    assert float(t.log().std()) == pytest.approx(1.2, abs=0.1)
    assert float(t.max()) <= 80
