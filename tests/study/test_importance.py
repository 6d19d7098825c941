import itertools
import json
import math

import pytest
from helpers.cli import call
from helpers.recorded import put

from ablate.core.errors import SpecError
from ablate.planning.planner import load
from ablate.runs.store import Store
from ablate.study.importance import _distribution, _evaluated, importance, shapley

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


def test_optunas_evaluators_find_the_one_that_matters():
    values = [5.0 * g["a"] + 0.01 * g["b"] for g in GRID] * 3
    found = _evaluated(GRID * 3, values)
    assert all(sum(shares.values()) == pytest.approx(1) for shares in found.values())
    assert found["fANOVA"]["a"] > 0.9
    assert found["MDI"]["a"] > 0.9
    assert found["PED-ANOVA"]["c"] == min(found["PED-ANOVA"].values())


def planned(place, plan, seeds):
    (place / "made.yaml").write_text(f"name: made\nseeds: {seeds}\nplan: [{plan}]\n")
    return load(place / "made.yaml"), Store(place / "runs")


def test_an_experiments_cells_are_compared(tmp_path):
    made, store = planned(tmp_path, "{grid: {metric.c: [0.01, 0.1], noise.p_mean: [-2.0, -1.0]}}", [0, 1, 2])
    for i, row in enumerate(made.rows):
        for seed, key in enumerate(row.keys):
            put(store, made.cells[key], 100.0 + 50 * (i // 2) + i + seed)
    found = importance([made], store)
    assert set(found) == {"fANOVA", "MDI", "PED-ANOVA", "Shapley"}
    assert found["Shapley"]["metric.c"] > 0.9
    done = call("importance", "made.yaml", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["Shapley"] == pytest.approx(found["Shapley"])
    assert importance([made] * 2, store) == found  # a cell counts once


def test_too_few_cells_are_an_error(tmp_path):
    made, store = planned(tmp_path, "{grid: {metric.c: [0.01, 0.1]}}", [0, 1])
    with pytest.raises(SpecError, match="4 finished cells"):
        importance([made], store)


def test_numbers_are_a_range_and_the_rest_a_choice():
    assert _distribution([0.01, 1.0]).log
    assert not _distribution([0, 1.0]).log
    assert _distribution(["b", "a", "b"]).choices == ("a", "b")
