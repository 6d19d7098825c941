from __future__ import annotations

import math

import pytest
import torch

import ablate

levels = ablate.build("levels", "karras")
sigma = levels(1281)


def lognormal(p_mean, p_std):
    return ablate.build("noise", {"name": "lognormal", "p_mean": p_mean, "p_std": p_std})


@pytest.mark.parametrize(
    ("p_mean", "p_std"), [(5.0, 0.05), (-7.0, 0.05), (20.0, 1.0), (-20.0, 0.5), (6.0, 0.1)]
)
def test_both_tails_keep_their_digits(p_mean, p_std):
    """Against log Phi, which has digits everywhere."""
    lognormal(p_mean, p_std).check(0.002, 80.0)
    z = (sigma.log() - p_mean) / p_std
    near = torch.special.log_ndtr(-z if p_mean > 0 else z)
    low, high = (near[1:], near[:-1]) if p_mean > 0 else (near[:-1], near[1:])
    mass = high + torch.log(-torch.expm1(low - high))
    wanted = torch.exp(mass - mass.max())
    torch.testing.assert_close(lognormal(p_mean, p_std)(sigma), wanted / wanted.sum(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("p_mean", "p_std"), [(5.0, 0.01), (-20.0, 0.3), (20.0, 0.4), (7.0, 1e-3)])
def test_a_distribution_beyond_the_ladder_is_refused(p_mean, p_std):
    with pytest.raises(ablate.SpecError, match=f"within 37 p_std of p_mean, but got p_mean={p_mean}"):
        lognormal(p_mean, p_std).check(0.002, 80.0)


def test_a_narrow_distribution_on_the_ladder_is_one_pair():
    lognormal(0.0, 1e-3).check(0.002, 80.0)
    p = lognormal(0.0, 1e-3)(sigma)
    assert p.max() > 0.99
    assert sigma[p.argmax()] < 1 < sigma[p.argmax() + 1]


def test_uniform():
    torch.testing.assert_close(
        ablate.build("noise", "uniform")(sigma), torch.full((1280,), 1 / 1280).double()
    )


def test_the_equation_of_the_paper():
    p = ablate.build("noise", "lognormal")(sigma)
    mass = [math.erf((math.log(float(s)) + 1.1) / (math.sqrt(2) * 2.0)) for s in sigma]
    wanted = torch.tensor(mass, dtype=torch.float64).diff()
    torch.testing.assert_close(p, wanted / wanted.sum())


def test_a_positive_mean_moves_the_mass_up():
    """Defect D12: the share below 0.5 falls from 58 % to 20 %."""

    def below(p_mean):
        p = ablate.build("noise", {"name": "lognormal", "p_mean": p_mean})(sigma)
        return float(p[sigma[1:] < 0.5].sum())

    assert below(-1.1) == pytest.approx(0.58, abs=0.02)
    assert below(1.1) == pytest.approx(0.20, abs=0.02)


u = torch.linspace(0, 1, 2001, dtype=torch.float64)[1:-1]


@pytest.mark.parametrize("spec", ["uniform", "lognormal", {"name": "lognormal", "p_mean": 6.0, "p_std": 0.4}])
def test_the_quantile_is_the_limit_of_the_distribution_over_pairs(spec):
    part, fine = ablate.build("noise", spec), levels(20_001)
    drawn = part.quantile(u, levels)
    cdf = torch.cat([torch.zeros(1).double(), part(fine).cumsum(0)])
    wanted = fine[torch.searchsorted(cdf, u, right=True).clamp(max=len(fine) - 1)]
    assert drawn.dtype == torch.float64
    assert (drawn.diff() >= 0).all()
    torch.testing.assert_close(drawn, wanted, rtol=2e-2, atol=1e-4)


@pytest.mark.parametrize("name", ["uniform", "lognormal"])
def test_the_quantile_ends_where_the_ladder_ends(name):
    ends = ablate.build("noise", name).quantile(torch.tensor([0.0, 1.0]).double(), levels)
    torch.testing.assert_close(ends, torch.tensor([0.002, 80.0]).double())
