import math

import pytest

from ablate.analysis.agreement import agreement

ROWS = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0}


def test_the_same_order_at_another_scale_agrees():
    found = agreement(ROWS, {row: 10 * v**2 for row, v in ROWS.items()})
    assert (found.tau, found.rows, found.same_best) == (pytest.approx(1), 5, True)
    assert found.p == pytest.approx(2 / math.factorial(5))  # two of all orders are as extreme


def test_the_reverse_order_disagrees():
    found = agreement(ROWS, {row: -v for row, v in ROWS.items()})
    assert (found.tau, found.same_best) == (pytest.approx(-1), False)


def test_only_shared_rows_count_and_four_are_the_fewest():
    other = {**ROWS, "e": math.inf, "f": 0.0}
    assert agreement(ROWS, other).rows == 4
    assert agreement(ROWS, {**other, "d": math.nan}) is None
