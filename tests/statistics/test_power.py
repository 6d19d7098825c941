"""How many seeds decide an effect."""

from __future__ import annotations

import numpy as np
from scipy import stats

from ablate.statistics.power import seeds_needed


def test_seeds_needed_reach_the_power():
    n, size = seeds_needed(0.5, 0.4, tests=5), 0.5 / 0.4
    assert n is not None
    draws = np.random.default_rng(7).standard_normal((4000, n)) + size
    assert (stats.ttest_1samp(draws, 0.0, axis=1).pvalue <= 0.01).mean() >= 0.78
    fewer = np.random.default_rng(8).standard_normal((4000, n - 1)) + size
    assert (stats.ttest_1samp(fewer, 0.0, axis=1).pvalue <= 0.01).mean() < 0.82


def test_hopeless_effects_have_no_number_and_spread_free_ones_need_two():
    assert seeds_needed(0.001, 1.0, tests=5) is None
    assert seeds_needed(0.5, 0.0, tests=5) == 2
