"""Tests and corrections: equal to those of scipy and statsmodels, and to what their formulas give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablate.statistics import significance


@pytest.mark.parametrize("n", [2, 3, 5, 12])
@pytest.mark.parametrize("effect", [-3.0, -0.1, 0.0, 1.0, 30.0])
def test_student_is_scipys_paired_test(n, effect):
    values = np.random.default_rng([n, round(10 * abs(effect))]).standard_normal(n) + effect
    for p, alternative in zip(significance.student(values.tolist()), ("less", "greater"), strict=True):
        assert p == pytest.approx(stats.ttest_1samp(values, 0.0, alternative=alternative).pvalue, abs=1e-12)
    exact = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert significance.interval(values.tolist()) == pytest.approx((values.mean(), *exact), rel=1e-12)


def test_values_without_spread_are_zero_or_surely_different():
    assert significance.student([0.0, 0.0]) == (1.0, 1.0)
    assert significance.student([-0.1] * 3) == (0.0, 1.0)
    assert significance.student([0.1] * 3) == (1.0, 0.0)


def test_one_value_decides_nothing():
    assert significance.student([5.0]) == significance.trend([[3.0, 2.0, 1.0]]) == (1.0, 1.0)
    mean, low, high = significance.interval([5.0])
    assert mean == 5.0
    assert math.isnan(low)
    assert math.isnan(high)


def test_signs_count_wins_and_leave_ties_out():
    assert significance.signs([-math.inf] * 7) == pytest.approx((0.5**7, 1.0))
    assert significance.signs([-1.0, 0.0, 1.0]) == pytest.approx((0.75, 0.75))
    assert significance.signs([0.0]) == (1.0, 1.0)


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
