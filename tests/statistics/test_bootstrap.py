"""Bootstrap intervals: what they cover, and what beats what."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.statistics import bootstrap


def test_intervals_of_three_runs_cover_nearly_what_they_say(monkeypatch):
    monkeypatch.setattr(bootstrap, "DRAWS", 400)
    rng, truth, hits = np.random.default_rng(0), np.array([0.0, 0.5, -0.3, 0.1, 0.2]), 0
    for _ in range(150):
        samples = truth[:, None] + 0.3 * rng.standard_normal((5, 3))
        _, low, high = bootstrap.bootstrapped([*samples], bootstrap.mean_change)
        hits += low <= truth[1:].mean() <= high
    assert hits / 150 >= 0.82  # 0.88 to 0.94 where it was looked at longer; without its correction 0.8


def test_the_probability_of_improvement_is_the_share_of_pairs():
    assert bootstrap.pair_improvement({0: 1.0, 1: 3.0}, {0: 2.0, 1: 2.0}) == 0.5
    assert bootstrap.pair_improvement({0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.0}) == 0.875  # equal runs count half
    assert bootstrap.pair_improvement({0: math.inf, 1: 1.0}, {0: 2.0, 1: 3.0}) == 0.5
    assert bootstrap.pair_improvement({0: 1.0}, {0: 2.0, 1: 3.0}) is None


def test_a_single_run_has_no_interval():
    value, low, high = bootstrap.bootstrapped([[1.0]], bootstrap.mean)
    assert value == 1.0
    assert math.isnan(low)
    assert math.isnan(high)


SAMPLES = st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=5), min_size=2, max_size=4)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(SAMPLES)
def test_intervals_of_any_samples_are_finite_and_ordered(samples):
    for statistic in (bootstrap.mean_change, bootstrap.middle_change, bootstrap.improvement):
        value, low, high = bootstrap.bootstrapped(samples, statistic)
        assert math.isfinite(value)
        assert -math.inf < low <= high < math.inf
    assert 0 <= value <= 1
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize("samples", [[[]], [[1.0, math.inf]], [[1.0], [math.nan, 2.0]]])
def test_samples_are_finite_numbers(samples):
    with pytest.raises(ValueError, match="samples"):
        bootstrap.bootstrapped(samples, bootstrap.mean)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(*[st.dictionaries(st.integers(0, 5), st.floats(0), min_size=2)] * 2)
def test_the_probability_of_improvement_of_both_sides_is_one(a, b):
    assert bootstrap.pair_improvement(a, b) + bootstrap.pair_improvement(b, a) == pytest.approx(1)
