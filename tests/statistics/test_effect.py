"""Two sides over seeds: ratios of geometric means, the floor of variances, divergence, pairing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablate.statistics.effect import (
    Sample,
    compare,
    contrast,
    effect,
    floor,
    not_significant,
    removed_by_pairing,
)

A, B, C = Sample(0, 1), Sample(1, 1), Sample(2, 1)


def versus(a, b, margin=1.0, least=0.0):
    return effect(contrast([(A, B)], {A: a, B: b}), [least, least], margin)


def numbered(values):
    return dict(enumerate(values))


def test_without_a_floor_it_is_scipys_welch_test_of_the_logarithms():
    a, b = [10.0, 11.0, 10.4], [12.6, 13.0, 12.9, 14.5]
    found = versus(numbered(a), numbered(b))
    logs = np.log(a), np.log(b)
    known = stats.ttest_ind(*logs, equal_var=False)
    ends = np.exp(known.confidence_interval(0.95))
    assert found.ratio == pytest.approx(math.exp(logs[0].mean() - logs[1].mean()))
    assert (found.t, found.df, found.p) == pytest.approx((known.statistic, known.df, known.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(ends))
    assert (found.n, found.raised) == (3, 0.0)


def test_the_floor_is_half_the_lower_quartile_of_the_rows_variances():
    rng = np.random.default_rng(0)
    logs = rng.normal(0, [[0.01], [0.1], [0.2], [0.3], [0.4]], (5, 4))
    table = {(i, 1): {"": numbered(np.exp(row))} for i, row in enumerate(logs)}
    assert floor(table, [(1, 1.0)]) == pytest.approx(0.5 * np.quantile(logs.var(1, ddof=1), 0.25))
    repeated = table | {(9, 1): table[0, 1], (0, 2): {"": {0: 1.0, 1: 9.0}}, (5, 1): {"": {0: 3.0}}}
    assert floor(repeated, [(1, 1.0)]) == floor(table, [(1, 1.0)])  # same values, other evaluations, one seed
    assert floor(table, [(1, -0.5)]) == pytest.approx(floor(table, [(1, 1.0)]) / 4)
    assert floor({}, [(1, 1.0)]) == 0.0


def test_seeds_that_happen_to_agree_prove_less_beside_rows_that_spread():
    quiet = {0: 10.0, 1: 10.001, 2: 10.002}
    table = {A: {"": quiet}, B: {"": {s: 1.02 * v for s, v in quiet.items()}}}
    alone = compare([(A, B)], table)
    noisy = {(i, 1): {"": {0: 8.0, 1: 10.0, 2: 13.0 + i}} for i in range(2, 12)}
    beside = compare([(A, B)], table | noisy)
    assert alone.p < 1e-4 < 0.5 < beside.p
    assert alone.ratio == beside.ratio
    assert beside.raised > 0.99


def test_a_row_that_spreads_keeps_its_own_variance():
    wide, narrow = {0: 5.0, 1: 10.0, 2: 30.0}, {0: 9.0, 1: 9.1, 2: 9.2}
    least = 0.5 * np.var(np.log([9.0, 9.1, 9.2]), ddof=1)
    assert versus(wide, narrow).p == versus(wide, narrow, least=least).p


def test_pairs_are_one_contrast_and_a_row_may_stand_in_several():
    rows = {A: {0: 8.0, 1: 9.0}, B: {0: 9.5, 1: 9.9}, C: {0: 12.0, 1: 13.0}}
    found = effect(contrast([(A, C), (B, C)], rows), [0.0] * 3)
    logs = {sample: np.log([*scores.values()]) for sample, scores in rows.items()}
    center = (logs[A].mean() + logs[B].mean()) / 2 - logs[C].mean()
    error = math.sqrt(sum(w**2 * logs[s].var(ddof=1) / 2 for s, w in ((A, 0.5), (B, 0.5), (C, 1.0))))
    assert found.ratio == pytest.approx(math.exp(center))
    assert found.t == pytest.approx(center / error)


def test_samples_of_one_row_are_compared_seed_by_seed():
    one, two = {0: 10.0, 1: 20.0, 2: 40.0}, {0: 9.0, 1: 18.2, 2: 35.9, 3: math.inf}
    nfe = Sample(0, 2)
    table = {A: {"": one | {3: math.inf}}, nfe: {"": two}}
    found = compare([(nfe, A)], table)
    gaps = np.log([0.9, 0.91, 35.9 / 40])
    known = stats.ttest_1samp(gaps, 0.0)
    assert (found.t, found.df, found.p) == pytest.approx((known.statistic, 2, known.pvalue))
    assert (found.n, found.lost) == (3, 0)  # where training diverged, it did so at both


def test_a_margin_moves_the_ratio_that_is_tested():
    a, b = {0: 10.0, 1: 11.0, 2: 12.0}, {0: 20.0, 1: 21.0, 2: 20.5}
    plain, twice = versus(a, b), versus(a, b, margin=2.0)
    assert plain.ratio == twice.ratio
    assert twice.less == pytest.approx(versus({s: 2 * v for s, v in a.items()}, b).less)
    assert plain.less < 0.05 < twice.less


def test_divergence_is_decided_by_ranks():
    fine, lost = dict.fromkeys(range(4), 20.0), dict.fromkeys(range(4), math.inf)
    found = versus(fine, lost)
    assert (found.lost, found.n) == (4, 4)
    assert found.less == pytest.approx(1 / 70)  # one order of eight values in which four are first
    assert versus(lost, lost).p == 1.0
    base = {0: 10.0, 1: 11.0, 2: 10.5}
    assert not_significant({0: math.inf, 1: 10.0, 2: 12.0}, base, 0.0)
    assert not not_significant({0: math.inf}, base, 0.0)  # nothing is known from one seed


def test_values_that_were_measured_differently_are_not_compared():
    table = {A: {"x": {0: 1.0}, "y": {0: 8.0, 1: 8.0}}, B: {"y": {0: 2.0, 1: 2.0}, "z": {0: 1.0}}}
    found = compare([(A, B)], table)
    assert (found.n, found.ratio) == (2, pytest.approx(4.0))
    assert compare([(A, B)], {A: {"x": {0: 1.0}}, B: {"z": {0: 1.0}}}) is None


def test_pairing_removes_what_the_rows_share():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(0, 1, (1, 400)), rng.normal(0, 1, (3, 400))
    for share, expected in (
        (0.0, 0.0),
        (1.0, 0.5),
        (3.0, 0.9),
    ):  # variance of the shared part to that of both
        rows = [numbered(np.exp(row)) for row in share * shared + own]
        assert removed_by_pairing(rows) == pytest.approx(expected, abs=0.06)
    assert removed_by_pairing([{0: 1.0, 1: 2.0}, {2: 1.0, 3: 2.0}]) is None


FIDS = st.dictionaries(st.integers(0, 6), st.floats(0), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(FIDS, FIDS, FIDS, st.floats(0.1, 10), st.floats(0, 10), st.sampled_from([(A, C), (B, C), (C, B)]))
def test_any_scores_give_probabilities_and_ordered_ends(a, b, c, margin, least, second):
    rows, floors = {A: a, B: b, C: c}, [least] * 3
    found = effect(contrast([(A, B), second], rows), floors, margin)
    assert 0 <= found.less <= 1
    assert 0 <= found.greater <= 1
    assert 0 <= found.p <= 1
    assert 0 <= found.raised <= 1 + 1e-12
    if not math.isnan(found.low):
        assert found.low <= found.ratio * (1 + 1e-9)
        assert found.ratio <= found.high * (1 + 1e-9)
        assert 0 <= found.deviation < math.inf
    swapped = effect(contrast([(B, A), second[::-1]], rows), floors, 1 / margin)
    assert (swapped.less, swapped.greater) == pytest.approx((found.greater, found.less), abs=1e-3)


@pytest.mark.parametrize("margin", [0.0, -1.0, math.inf, math.nan])
def test_a_margin_is_a_positive_number(margin):
    with pytest.raises(ValueError, match="margin"):
        versus({0: 1.0}, {0: 2.0}, margin)
