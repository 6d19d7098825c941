"""Comparisons in words."""

from __future__ import annotations

import math

import pytest

from ablate.statistics import wording
from ablate.statistics.paired import paired


def test_one_seed_has_no_interval_and_more_have_one():
    assert wording.describe(paired([({0: 8.8}, {0: 10.0})])) == "FID -12.0%"
    words = wording.describe(paired([({0: 8.8, 1: 8.9}, {0: 10.0, 1: 10.0})]))
    assert words.startswith("FID -11.5% [-17.")
    assert words.endswith("%]")


def test_divergence_is_said():
    fine, lost = {0: 1.0, 1: 2.0}, {0: math.inf, 1: 2.0}
    assert wording.describe(paired([(fine, lost)])) == "FID +0.0%, 1 of 2 pairs decided by a divergence"
    assert wording.describe(paired([({0: 1.0}, {0: math.inf})])) == "1 of 1 pairs decided by a divergence"
    assert wording.describe(paired([({0: math.inf}, {0: math.inf})])) == "nothing to compare"


@pytest.mark.parametrize(("p", "words"), [(0.00001, "<0.001"), (0.0312, "0.031"), (0.9951, "1")])
def test_small_probabilities_are_bounds(p, words):
    assert wording.probability(p) == words


def test_a_large_ratio_is_a_factor():
    assert [wording.percent(ratio) for ratio in (0.88, 2.9, 52.0)] == ["-12.0%", "+190.0%", "×52"]
