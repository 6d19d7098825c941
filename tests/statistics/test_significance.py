"""Tests and corrections: equal to those of scipy and statsmodels, and to what their formulas give."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablate.statistics import significance


def test_ranks_are_scipys_exact_test_and_count_every_order_with_ties():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 5).tolist(), rng.normal(1, 1, 4).tolist()
    for p, side in zip(significance.ranks(a, b), ("less", "greater"), strict=True):
        assert p == pytest.approx(stats.mannwhitneyu(a, b, alternative=side, method="exact").pvalue)
    assert significance.ranks([1.0, math.inf], [2.0, math.inf]) == pytest.approx((1 / 2, 5 / 6))
    assert significance.ranks([math.inf] * 2, [math.inf] * 3) == (1.0, 1.0)


def test_one_value_has_no_variance():
    assert significance.trend([[3.0, 2.0, 1.0]]) == (1.0, 1.0)
    assert math.isnan(significance.variance([5.0]))


def test_a_trend_has_a_direction():
    rows = [[3.0, 2.0, 1.0]] * 5
    falls, rises = significance.trend(rows)
    assert falls == pytest.approx(6.0**-5)  # one order of three values in six, five times
    assert significance.trend([row[::-1] for row in rows]) == pytest.approx((rises, falls))


def test_holm_is_statsmodels():
    assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert significance.holm([]) == []
    rng = np.random.default_rng(0)
    for m in (1, 2, 5, 13):
        p = rng.random(m) ** 3
        assert significance.holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-15)


NUMBERS = st.floats(-1e150, 1e150)
CLOSE = st.sampled_from([0.0, 1.0, 1.0000000000000002, -1.0, 1e-200, 5e-324])
often = settings(max_examples=100, deadline=None, derandomize=True)


@often
@given(st.lists(NUMBERS | CLOSE, min_size=2, max_size=12))
def test_the_variance_of_any_finite_values_is_finite(values):
    assert 0 <= significance.variance(values) < math.inf


@often
@given(*2 * [st.lists(NUMBERS | CLOSE | st.just(math.inf), min_size=2, max_size=4)])
def test_ranks_of_any_values_are_probabilities_of_both_sides(a, b):
    less, greater = significance.ranks(a, b)
    assert 0 <= less <= 1
    assert 0 <= greater <= 1
    assert less + greater >= 1 - 1e-9
    assert significance.ranks(b, a) == pytest.approx((greater, less))


@pytest.mark.parametrize("values", [[1.0, math.nan], [math.inf, 1.0], [1e200, 1.0], [-math.inf]])
def test_values_that_are_not_finite_are_refused(values):
    with pytest.raises(ValueError, match="must hold"):
        significance.variance(values)


@often
@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_keeps_the_order_and_lowers_nothing(p):
    corrected = significance.holm(p)
    assert all(a <= c <= 1 for a, c in zip(p, corrected, strict=True))
    by = sorted(zip(p, corrected, strict=True))
    assert [c for _, c in by] == sorted(c for _, c in by)


@pytest.mark.parametrize("p", [[math.nan], [0.5, 1.1], [-0.1]])
def test_holm_takes_probabilities_only(p):
    with pytest.raises(ValueError, match="0 to 1"):
        significance.holm(p)


def drawn(table):
    """p of `trend` by all orders of all rows."""
    values = np.asarray(table)
    ranks = stats.rankdata(values, axis=1)
    places = np.arange(values.shape[1])
    seen = (ranks * places).sum()
    each = [[sum(np.array(o) * places) for o in itertools.permutations(row)] for row in ranks]
    totals = np.array([sum(sums) for sums in itertools.product(*each)])
    return (totals <= seen + 1e-9).mean(), (totals >= seen - 1e-9).mean()


@pytest.mark.parametrize(
    "table",
    [
        [[1.0, 2.0, 2.0], [1.0, 1.0, 3.0]],
        [[4.0, 3.0, math.inf, math.inf], [5.0, 4.0, 3.0, math.inf], [9.0, 7.0, 8.0, 7.0]],
        [[2.0, 2.0, 2.0], [3.0, 2.0, 1.0], [1.0, 1.0, 0.0]],
        [[math.inf, math.inf, 1.0], [math.inf, 2.0, 1.0], [4.0, 3.0, 3.0]],
    ],
)
def test_page_with_ties_counts_every_order(table):
    assert significance.trend(table) == pytest.approx(drawn(table), abs=1e-12)


def test_page_of_equal_values_shows_nothing():
    assert significance.trend([[1.0] * 4] * 3) == (1.0, 1.0)
    assert significance.trend([[1.0] * 9] * 3) == (1.0, 1.0)


def test_page_with_ties_in_many_columns_is_nearly_that_without():
    rows = [[10.0, 8.0, 9.0, 7.0, 6.0, 5.0, 4.5, 3.0, 2.0], [9.0, 9.5, 7.0, 8.0, 6.0, 4.0, 5.0, 2.0, 3.0]] * 3
    falls, _ = significance.trend(rows)
    tied_falls, tied_rises = significance.trend([rows[0][:-1] + rows[0][-2:-1], *rows[1:]])
    assert falls < 1e-6
    assert tied_falls < 1e-6
    assert tied_rises > 0.999


@often
@given(
    st.integers(3, 6).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 3), min_size=n, max_size=n), max_size=5)
    )
)
def test_page_of_any_table_is_a_probability_of_both_sides(table):
    falls, rises = significance.trend(table)
    assert 0 <= falls <= 1
    assert 0 <= rises <= 1
    assert falls + rises >= 1 - 1e-9
    assert significance.trend([row[::-1] for row in table]) == pytest.approx((rises, falls), abs=1e-9)


@pytest.mark.parametrize(
    "table", [[[1.0, 2.0]] * 3, [[1.0, 2.0, 3.0], [1.0, 2.0]], [[1.0, math.nan, 2.0]] * 2]
)
def test_page_needs_three_columns_of_numbers(table):
    with pytest.raises(ValueError):
        significance.trend(table)


@pytest.mark.parametrize(("df", "quantile"), [(1, 12.7062), (4, 2.7764), (math.inf, 1.9600)])
def test_an_interval_reaches_as_far_as_students_t(df, quantile):
    assert significance.reach(0.5, df) == pytest.approx(0.5 * quantile, rel=1e-4)


@pytest.mark.parametrize("df", [0.0, math.nan])
def test_without_degrees_of_freedom_nobody_knows_how_far(df):
    assert math.isnan(significance.reach(0.5, df))
