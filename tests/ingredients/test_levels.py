from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ablate

karras = ablate.build("levels", "karras")


@settings(max_examples=30, deadline=None)
@given(N=st.integers(2, 2000), rho=st.floats(1, 10))
def test_ascending_between_the_ends_in_float64(N, rho):
    sigma = ablate.build("levels", {"name": "karras", "rho": rho})(N)
    assert sigma.dtype == torch.float64
    assert sigma.shape == (N,)
    assert (sigma.diff() > 0).all()
    torch.testing.assert_close(sigma[[0, -1]], torch.tensor([0.002, 80.0], dtype=torch.float64))


def test_the_equation_of_the_paper():
    i, N = 5, 11
    a, b = 0.002 ** (1 / 7), 80 ** (1 / 7)
    assert float(karras(N)[i - 1]) == pytest.approx((a + (i - 1) / (N - 1) * (b - a)) ** 7, rel=1e-12)


def test_the_papers_two_step_level_is_a_point_of_its_last_ladder():
    assert float(karras(1281)[492]) == pytest.approx(0.82087, abs=1e-4)
    assert float(karras(1281)[571]) == pytest.approx(1.52577, abs=1e-4)


def test_the_smallest_gap_needs_float64():
    assert float(karras(1281).diff().min()) == pytest.approx(3.9e-5, rel=0.02)


def test_a_ladder_without_sigma_min_starts_at_its_second_point():
    without = ablate.build("levels", "karras_without_min")(10)
    torch.testing.assert_close(without, karras(11)[1:])


def test_one_level_is_no_ladder_and_the_ends_are_ordered():
    with pytest.raises(ablate.SpecError, match="N >= 2"):
        karras(1)
    with pytest.raises(ablate.SpecError, match="sigma_min < sigma_max"):
        ablate.build("levels", {"name": "karras", "sigma_min": 90.0})


def test_the_slope_is_the_derivative_by_place():
    ladder, place = ablate.build("levels", "karras"), torch.linspace(0.01, 0.99, 50).double()
    difference = (ladder.at(place + 1e-5) - ladder.at(place - 1e-5)) / 2e-5
    torch.testing.assert_close(ladder.slope(ladder.at(place)), difference, rtol=1e-6, atol=1e-6)
