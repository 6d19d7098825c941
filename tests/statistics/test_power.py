"""How many seeds decide an effect."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablate.statistics.power import MOST_SEEDS, power, seeds_needed


def test_seeds_needed_reach_the_power():
    n, size = seeds_needed(0.5, 0.4, tests=5), 0.5 / 0.4
    assert n is not None
    draws = np.random.default_rng(7).standard_normal((4000, n)) + size
    assert (stats.ttest_1samp(draws, 0.0, axis=1).pvalue <= 0.01).mean() >= 0.78
    fewer = np.random.default_rng(8).standard_normal((4000, n - 1)) + size
    assert (stats.ttest_1samp(fewer, 0.0, axis=1).pvalue <= 0.01).mean() < 0.82


@pytest.mark.parametrize(("effect", "deviation", "tests"), [(0.22, 0.1, 10), (0.5, 0.1, 20), (0.1, 0.12, 3)])
def test_seeds_of_two_rows_that_spread_alike_reach_the_power(effect, deviation, tests):
    """Welch's test in 20,000 pairs of rows; its degrees of freedom are estimated, so they are not quite 2 (n - 1)."""

    def tested(n):
        a, b = np.random.default_rng(9).normal(0, deviation / math.sqrt(2), (2, 20_000, n))
        return stats.ttest_ind(a + effect, b, axis=1, equal_var=False)

    n = seeds_needed(effect, deviation, tests, freedom=1.6)
    assert (tested(n).pvalue <= 0.05 / tests).mean() >= 0.77
    assert (tested(n - 1).pvalue <= 0.05 / tests).mean() < 0.83
    assert (tested(n).df / (n - 1)).mean() == pytest.approx(1.7, abs=0.25)


def test_hopeless_effects_have_no_number_and_spread_free_ones_need_two():
    assert seeds_needed(0.001, 1.0, tests=5) is None
    assert seeds_needed(0.5, 0.0, tests=5) == 2


@pytest.mark.parametrize("tests", [1, 17, 500])
@pytest.mark.parametrize("n", [2, 3, 4, 6, 15, 60])
def test_the_power_is_that_of_simulated_tests(n, tests):
    """At sizes from no power to certainty, where statsmodels has a NaN for a part of them."""
    level = 0.05 / tests
    z = np.random.default_rng(n).standard_normal((20_000, n))
    bound = stats.t.isf(level / 2, n - 1)
    mean, error = z.mean(1), z.std(1, ddof=1) / math.sqrt(n)
    for size in np.geomspace(0.05, 3000, 12):
        simulated = (np.abs(mean + size) > bound * error).mean()
        assert power(size, n, level, n - 1) == pytest.approx(simulated, abs=0.015)


@pytest.mark.parametrize(
    ("effect", "deviation", "tests"), [(0.5, 0.1, 17), (1.5, 0.1, 40), (0.3, 0.02, 200), (2.0, 0.05, 1000)]
)
def test_where_statsmodels_has_a_nan_the_number_is_enough_and_one_fewer_is_not(effect, deviation, tests):
    n = seeds_needed(effect, deviation, tests)
    z = np.random.default_rng(0).standard_normal((20_000, n)) * deviation + effect
    assert (stats.ttest_1samp(z, 0.0, axis=1).pvalue <= 0.05 / tests).mean() >= 0.79
    assert (stats.ttest_1samp(z[:, :-1], 0.0, axis=1).pvalue <= 0.05 / tests).mean() <= 0.81


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    effect=st.floats(-1e3, 1e3),
    deviation=st.floats(0, 1e3),
    tests=st.integers(1, 10**6),
    alpha=st.floats(1e-9, 0.5),
)
def test_more_effect_less_spread_and_fewer_tests_need_no_more_seeds(effect, deviation, tests, alpha):
    def needed(*given):
        found = seeds_needed(*given)
        assert found is None or 2 <= found <= MOST_SEEDS
        return found or MOST_SEEDS + 1

    n = needed(effect, deviation, tests, alpha)
    assert needed(-effect, deviation, tests, alpha) == n
    assert needed(2 * effect, deviation, tests, alpha) <= n
    assert needed(effect, deviation / 2, tests, alpha) <= n
    assert needed(effect, deviation, 2 * tests, alpha) >= n


@pytest.mark.parametrize(
    "given", [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf), (0.0, 0.0)]
)
def test_what_is_no_effect_has_no_number(given):
    assert seeds_needed(*given, tests=3) is None


@pytest.mark.parametrize(
    "given", [(1.0, -1.0, 1, 0.05), (1.0, 1.0, 0, 0.05), (1.0, 1.0, 1, 0.0), (1.0, 1.0, 1, 1.0)]
)
def test_outside_its_domain_it_raises(given):
    with pytest.raises(ValueError, match="must hold"):
        seeds_needed(*given)
