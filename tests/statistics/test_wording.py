"""Comparisons in words."""

from __future__ import annotations

import math
import re

import pytest

from ablate.statistics import wording
from ablate.statistics.effect import Sample, compare


def versus(a, b):
    first, second = Sample(0, 1), Sample(1, 1)
    return compare([(first, second)], {first: {"": a}, second: {"": b}})


def test_one_seed_has_no_interval_and_more_have_one():
    assert wording.describe(versus({0: 8.8}, {0: 10.0})) == "FID -12.0%"
    words = wording.describe(versus({0: 8.8, 1: 8.9}, {0: 10.0, 1: 10.0}))
    assert re.fullmatch(r"FID -11.5% \[-1\d.\d%, -\d+.\d%\]", words)


def test_divergence_is_said():
    fine, lost = {0: 1.0, 1: 2.0}, {0: math.inf, 1: 2.0}
    assert wording.describe(versus(fine, lost)) == "FID -29.3%, 1 run diverged"
    assert wording.describe(versus({0: 1.0}, {0: math.inf})) == "1 run diverged"
    assert wording.describe(versus({0: math.inf}, {0: math.inf})) == "2 runs diverged"


@pytest.mark.parametrize(("p", "words"), [(0.00001, "<0.001"), (0.0312, "0.031"), (0.9951, "1")])
def test_small_probabilities_are_bounds(p, words):
    assert wording.probability(p) == words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.88,), ["-12.0%"]),
        ((2.9,), ["+190.0%"]),
        ((52.0,), ["×52"]),
        ((2.0, 1.5, 2.9), ["+100.0%", "+50.0%", "+190.0%"]),
        ((4.36, 1.303, 14.6), ["×4.36", "×1.3", "×14.6"]),
        ((1.2, 0.47, 3.0), ["×1.2", "×0.47", "×3"]),
    ],
)
def test_a_value_and_its_interval_have_one_unit(values, words):
    assert wording.ratios(*values) == words


@pytest.mark.parametrize(
    ("worse", "better", "words"),
    [
        (82.0, 1.0, "FID 82 times lower"),
        (1.0, 1.0, "FID 1 times lower"),
        (1.0, 4.0, "FID 4 times higher"),
    ],
)
def test_a_factor_that_is_asked_for_is_answered_in_times(worse, better, words):
    assert wording.describe(versus({0: better}, {0: worse}), times=True) == words
    said = wording.describe(versus({0: better, 1: 1.1 * better}, {0: worse, 1: worse}), times=True)
    assert re.fullmatch(r"FID [\d.]+ times (lower|higher) \[[\d.]+, [\d.]+\]", said)
    low, high = map(float, re.findall(r"[\d.]+", said.split("[")[1]))
    assert low <= float(said.split()[1]) <= high
