"""Two sides over shared seeds: ratios of logarithms, divergence, and values that were measured differently."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.statistics.paired import Sample, compare, not_significant, paired


def test_a_difference_is_that_of_the_logarithms():
    a, b = {0: 10.0, 1: 20.0, 2: 40.0}, {0: 20.0, 1: 50.0, 2: 70.0}
    found = paired([(a, b)])
    logs = np.log([0.5, 0.4, 4 / 7])
    reach = (
        4.302652729749464 * logs.std(ddof=1) / math.sqrt(3)
    )  # Student's t at 97.5 %, two degrees of freedom
    ends = math.exp(logs.mean() - reach), math.exp(logs.mean() + reach)
    assert found.ratio == pytest.approx(math.exp(logs.mean()))
    assert (found.low, found.high) == pytest.approx(ends)
    assert found.difference == pytest.approx(-70 / 3)


def test_divergence_loses_by_signs():
    fine, lost = dict.fromkeys(range(7), 20.0), dict.fromkeys(range(7), math.inf)
    found = paired([(fine, lost)])
    assert (found.lost, found.n) == (7, 7)
    assert found.less == pytest.approx(0.5**7)
    assert paired([(lost, lost)]).p == 1.0


def test_a_margin_moves_the_ratio_that_is_tested():
    a, b = {0: 10.0, 1: 11.0, 2: 12.0}, {0: 20.0, 1: 20.0, 2: 20.0}
    plain, twice = paired([(a, b)]), paired([(a, b)], margin=2.0)
    assert plain.ratio == twice.ratio
    assert twice.less == pytest.approx(paired([({s: 2 * v for s, v in a.items()}, b)]).less)
    assert plain.less < 0.05 < twice.less


def test_contexts_share_their_seeds():
    one, two = {0: 1.0, 1: 2.0, 2: 4.0}, {1: 1.0, 2: 1.0, 3: 1.0}
    assert paired([(one, two), (two, two)]).ratio == pytest.approx(
        8.0**0.25
    )  # half the mean of log 2 and log 4


def test_rows_differ_significantly_or_not():
    base = {0: 10.0, 1: 11.0, 2: 12.0}
    assert not not_significant(base, {s: 2 * v + s / 100 for s, v in base.items()})
    assert not_significant(base, {0: 11.0, 1: 10.0, 2: 12.5})
    assert not not_significant({0: 1.0}, {0: 1.0})  # nothing is known from one seed


def test_values_that_were_measured_differently_are_not_compared():
    a, b = Sample(0, 1), Sample(1, 1)
    table = {a: {"x": {0: 1.0}, "y": {0: 8.0, 1: 8.0}}, b: {"y": {0: 2.0, 1: 2.0}, "z": {0: 1.0}}}
    found = compare([(a, b)], table)
    assert found is not None
    assert (found.n, found.ratio) == (2, pytest.approx(4.0))
    assert compare([(a, b)], {a: {"x": {0: 1.0}}, b: {"z": {0: 1.0}}}) is None
    assert compare([(a, b)], {a: {"x": {0: 1.0}}, b: {"x": {1: 1.0}}}) is None


FIDS = st.dictionaries(st.integers(0, 6), st.floats(0) | st.just(math.nan), max_size=6)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(FIDS, FIDS), min_size=1, max_size=3), st.floats(0.1, 10))
def test_any_scores_give_probabilities_and_ordered_ends(contexts, margin):
    found = paired(contexts, margin)
    assert 0 <= found.less <= 1
    assert 0 <= found.greater <= 1
    assert 0 <= found.p <= 1
    assert 0 <= found.lost <= found.n
    if found.n - found.lost > 1:
        assert found.low <= found.ratio * (1 + 1e-9)
        assert found.ratio <= found.high * (1 + 1e-9)
        assert 0 <= found.deviation < math.inf
    swapped = paired([(b, a) for a, b in contexts], 1 / margin)
    assert (swapped.less, swapped.greater) == pytest.approx((found.greater, found.less), abs=1e-6)


def test_a_diverged_seed_leaves_the_comparison_open():
    """The signs of two or three pairs decide nothing, with a divergence among them as without."""
    base = {0: 10.0, 1: 11.0, 2: 10.5}
    assert not_significant({0: math.inf, 1: 10.0, 2: 12.0}, base)
    assert not_significant({0: math.inf, 1: math.inf, 2: 10.0}, base)
    assert not not_significant({0: math.inf}, base)


@pytest.mark.parametrize("margin", [0.0, -1.0, math.inf, math.nan])
def test_a_margin_is_a_positive_number(margin):
    with pytest.raises(ValueError, match="margin"):
        paired([({0: 1.0}, {0: 2.0})], margin)
