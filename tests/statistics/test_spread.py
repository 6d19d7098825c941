"""Rows that spread more than others."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ablate.statistics.spread import compare_spread


def scores(logs):
    return dict(enumerate(np.exp(logs)))


def test_it_is_the_f_test_of_log_fid():
    rng = np.random.default_rng(0)
    a, b = rng.normal(2, 0.1, 5), rng.normal(3, 0.4, 8)
    found = compare_spread(scores(a), scores(b))
    ratio = a.var(ddof=1) / b.var(ddof=1)
    assert found.ratio == pytest.approx(math.sqrt(ratio))
    assert (found.less, found.greater) == pytest.approx((stats.f.cdf(ratio, 4, 7), stats.f.sf(ratio, 4, 7)))
    assert found.low == pytest.approx(math.sqrt(ratio / stats.f.ppf(0.975, 4, 7)))
    assert found.high == pytest.approx(math.sqrt(ratio / stats.f.ppf(0.025, 4, 7)))
    assert found.n == 5


def test_the_level_and_the_interval_hold_for_lognormal_fids():
    rng, hits, covered = np.random.default_rng(1), 0, 0
    for _ in range(2000):
        found = compare_spread(scores(rng.normal(0, 0.1, 3)), scores(rng.normal(0, 0.1, 4)))
        hits += 2 * min(found.less, found.greater) <= 0.05
        covered += found.low <= 1 <= found.high
    assert hits / 2000 == pytest.approx(0.05, abs=0.015)
    assert covered == 2000 - hits


def test_nothing_is_known_from_one_value_or_without_spread():
    assert compare_spread({0: 1.0}, {0: 1.0, 1: 2.0}) is None
    assert compare_spread({0: 1.0, 1: math.inf}, {0: 1.0, 1: 2.0}) is None
    assert compare_spread({0: 2.0, 1: 2.0}, {0: 1.0, 1: 1.0}) is None
    assert compare_spread({0: 2.0, 1: 3.0}, {0: 1.0, 1: 1.0}).greater == 0.0
