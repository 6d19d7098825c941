from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ablate

sigma = ablate.build("levels", "karras")(1281)


@settings(max_examples=30, deadline=None)
@given(p_mean=st.floats(-20, 20), p_std=st.floats(0.05, 20), N=st.integers(2, 1281))
def test_lognormal_is_a_distribution_over_pairs(p_mean, p_std, N):
    p = ablate.build("noise", {"name": "lognormal", "p_mean": p_mean, "p_std": p_std})(
        ablate.build("levels", "karras")(N)
    )
    assert p.shape == (N - 1,)
    if p.isfinite().all():
        assert (p >= 0).all()
        assert float(p.sum()) == pytest.approx(1)
    else:  # all mass beyond the ladder: nothing to share out
        assert abs(p_mean) > 4


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


levels = ablate.build("levels", "karras")
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
