"""The expected best of k trials against what it is by definition: the mean over all draws."""

from __future__ import annotations

import itertools
import statistics

import pytest

from ablate.statistics.expected_best import expected_best


@pytest.mark.parametrize("values", [[3.0], [3.0, 1.0], [5.0, 1.0, 4.0, 1.0], [2.0, 2.0, 7.0]])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_it_is_the_mean_lowest_of_all_draws(values, k):
    lowest = [min(draw) for draw in itertools.product(values, repeat=k)]
    assert expected_best(values, k) == pytest.approx(statistics.fmean(lowest))


def test_it_falls_from_the_mean_towards_the_lowest():
    values = [9.0, 4.0, 6.0, 5.0]
    found = [expected_best(values, k) for k in range(1, 60)]
    assert found[0] == statistics.fmean(values)
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(4.0, abs=1e-3)
