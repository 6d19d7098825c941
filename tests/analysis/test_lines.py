"""The words that all tables share: numbers of cells by state, a mean with its deviation."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from ablate.analysis.lines import Line, Stat, counted


@pytest.mark.parametrize(
    ("states", "lost"),
    [
        ({"finished": 3}, ""),
        ({"finished": 1, "missing": 2}, "2 not run"),
        ({"missing": 1, "failed": 1, "diverged": 2}, "2 diverged, 1 failed, 1 not run"),
        ({"running": 1}, ""),
    ],
)
def test_lost_seeds_are_counted_by_state_in_words(states, lost):
    assert Line(0, None, Counter(states)).lost == lost


def test_finished_cells_are_counted_with_the_words_of_the_caller():
    states = Counter(finished=1200, missing=1)
    assert counted(states) == "1,200 finished, 1 not run"
    assert counted(states, finished="finished without one") == "1,200 finished without one, 1 not run"


@pytest.mark.parametrize(
    ("stat", "text"),
    [
        (Stat(20.26, 1.31, 2), "20.26 ± 1.31"),
        (Stat(1442.0, 22.0, 3), "1,442.0 ± 22.00"),
        (Stat(20.26, math.nan, 1), "20.26"),
    ],
)
def test_a_single_seed_has_no_deviation(stat, text):
    assert str(stat) == text
