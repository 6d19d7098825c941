"""Shapley effects of full factorials."""

from __future__ import annotations

import itertools
import math

import pytest

from ablate.statistics.importance import ERRORS, shapley, trust

GRID = [{"a": a, "b": b, "c": c} for a, b, c in itertools.product([0, 1], [0, 1, 2], ["x", "y"])]


def test_shapley_of_an_additive_truth_is_each_factors_own_variance():
    found = shapley(GRID, [3.0 * g["a"] + g["b"] for g in GRID])
    own = {"a": 9 / 4, "b": 2 / 3, "c": 0.0}
    assert found == pytest.approx({k: v / sum(own.values()) for k, v in own.items()})


def test_shapley_divides_an_interaction_equally():
    found = shapley(GRID, [float((g["a"] == 1) ^ (g["c"] == "x")) for g in GRID])
    assert found == pytest.approx({"a": 0.5, "b": 0.0, "c": 0.5})


def test_shapley_shares_add_up_to_one():
    found = shapley(GRID, [math.sin(i * i) for i in range(len(GRID))])
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) > 0


@pytest.mark.parametrize("part", [GRID[:-1], [*GRID, GRID[0]]])
def test_shapley_asks_for_every_combination_equally_often(part):
    assert shapley(part, [float(i) for i in range(len(part))]) == {}


@pytest.mark.parametrize(
    ("shown", "first"),
    [
        (["fANOVA", "MDI", "PED-ANOVA", "Shapley"], "Shapley"),
        (["fANOVA", "MDI", "PED-ANOVA"], "MDI"),
        (["PED-ANOVA", "fANOVA"], "fANOVA"),
        (["PED-ANOVA"], "PED-ANOVA"),
    ],
)
def test_the_advice_is_about_the_evaluators_that_are_shown(shown, first):
    said = trust(shown)
    assert f"trust {first}." in said
    assert {name for name in ERRORS if name in said} == {*shown}
    assert ("combinations are missing" in said) == (first != "Shapley")
