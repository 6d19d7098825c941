"""Many rows at once: which belong together, and their mean ratio to the base."""

from __future__ import annotations

import math

import pytest

from ablate.analysis import aggregate
from ablate.analysis.verdicts import Versus
from ablate.statistics.effect import Sample, compare


def versus(base, row, table):
    return Versus(base, compare([(Sample(row, 1), Sample(base, 1))], table), 1.0, None)


def made(*rows):
    """Scores of rows by their FIDs, and each against the first."""
    table = {(i, 1): {"": dict(enumerate(fids))} for i, fids in enumerate(rows)}
    return table, [None, *(versus(0, i, table) for i in range(1, len(rows)))]


def test_ratios_are_geometric_means_over_rows():
    table, against = made([10.0, 10.0], [20.0, 20.0], [5.0, 5.0], [20.0, 20.0])
    mean, middle, beats = aggregate.together([0, 1, 2, 3], against, table)
    assert mean == pytest.approx((2 ** (1 / 3),) * 3)
    assert middle == pytest.approx((2**0.5,) * 3)  # of six runs the outer two are left out
    assert beats == pytest.approx((1 / 3,) * 3)


def test_rows_that_lost_a_run_or_have_one_are_not_looked_at_together():
    table, against = made([10.0, 11.0], [20.0, 21.0], [5.0, 6.0], [9.0, math.inf], [8.0, 7.0], [1.0])
    assert aggregate.section(range(6), against, table) == [(0, 1, 2, 4)]
    assert aggregate.section(range(3), against, table) == []  # two rows are read one by one
