"""Many rows at once: what the bootstrap's intervals cover, and what beats what."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ablate.analysis import aggregate
from ablate.analysis.statistics import paired
from ablate.analysis.verdicts import Versus


def versus(base, row, table):
    return Versus(base, paired([(table[row, 1][""], table[base, 1][""])]), 1.0, None)


def made(*rows):
    """Scores of rows by their FIDs, and each against the first."""
    table = {(i, 1): {"": dict(enumerate(fids))} for i, fids in enumerate(rows)}
    return table, [None, *(versus(0, i, table) for i in range(1, len(rows)))]


def test_intervals_of_three_runs_cover_nearly_what_they_say(monkeypatch):
    monkeypatch.setattr(aggregate, "DRAWS", 400)
    rng, truth, hits = np.random.default_rng(0), np.array([0.0, 0.5, -0.3, 0.1, 0.2]), 0
    for _ in range(150):
        samples = truth[:, None] + 0.3 * rng.standard_normal((5, 3))
        _, low, high = aggregate.bootstrapped([*samples], aggregate.mean_change)
        hits += low <= truth[1:].mean() <= high
    assert hits / 150 >= 0.82  # 0.88 to 0.94 where it was looked at longer; without its correction 0.8


def test_ratios_are_geometric_means_over_rows():
    table, against = made([10.0, 10.0], [20.0, 20.0], [5.0, 5.0], [20.0, 20.0])
    mean, middle, beats = aggregate.together([0, 1, 2, 3], against, table)
    assert mean == pytest.approx((2 ** (1 / 3),) * 3)
    assert middle == pytest.approx((2**0.5,) * 3)  # of six runs the outer two are left out
    assert beats == pytest.approx((1 / 3,) * 3)


def test_the_probability_of_improvement_is_the_share_of_pairs():
    assert aggregate.pair_improvement({0: 1.0, 1: 3.0}, {0: 2.0, 1: 2.0}) == 0.5
    assert aggregate.pair_improvement({0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.0}) == 0.875  # equal runs count half
    assert aggregate.pair_improvement({0: math.inf, 1: 1.0}, {0: 2.0, 1: 3.0}) == 0.5
    assert aggregate.pair_improvement({0: 1.0}, {0: 2.0, 1: 3.0}) is None


def test_rows_that_lost_a_run_or_have_one_are_not_looked_at_together():
    table, against = made([10.0, 11.0], [20.0, 21.0], [5.0, 6.0], [9.0, math.inf], [8.0, 7.0], [1.0])
    assert aggregate.section(range(6), against, table) == [(0, 1, 2, 4)]
    assert aggregate.section(range(3), against, table) == []  # two rows are read one by one


def test_a_single_run_has_no_interval():
    value, low, high = aggregate.bootstrapped([[1.0]], aggregate.mean)
    assert value == 1.0
    assert math.isnan(low)
    assert math.isnan(high)
