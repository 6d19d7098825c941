import itertools
import json
import shutil

import numpy as np
import pytest
from helpers.cli import call
from helpers.recorded import put

from ablate.core.errors import SpecError
from ablate.planning.planner import load
from ablate.runs.store import Store
from ablate.statistics import designs
from ablate.statistics.importance import shapley
from ablate.study.importance import _distribution, _evaluated, importance

GRID = [{"a": a, "b": b, "c": c} for a, b, c in itertools.product([0, 1], [0, 1, 2], ["x", "y"])]


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


def test_a_report_has_what_it_needs(tmp_path):
    made, store = planned(tmp_path, "{grid: {metric.c: [0.01, 0.1], noise.p_mean: [-2.0, -1.0]}}", [0, 1])
    for i, cell in enumerate(made.cells.values()):
        put(store, cell, 100.0 + 50 * (i // 4) + i)
    assert call("report", "made.yaml", cwd=tmp_path).returncode == 0
    here = call("importance", "made.yaml", "--json", cwd=tmp_path).stdout
    shutil.rmtree(tmp_path / "runs")
    for source in ("reports/made", "reports/made/records.jsonl"):
        done = call("importance", "made.yaml", "--from", source, "--json", cwd=tmp_path)
        assert done.stdout == here
        assert done.returncode == 0
    assert (
        call("importance", "made.yaml", "made.yaml", "--from", source, "--json", cwd=tmp_path).stdout == here
    )
    assert not (tmp_path / "runs").exists()
    for source, said in (("nowhere", "nowhere"), ("reports/made", "has no cell of made")):
        done = call("importance", "made.yaml", "--seeds", "7", "--from", source, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr


def test_too_few_cells_are_an_error(tmp_path):
    made, store = planned(tmp_path, "{grid: {metric.c: [0.01, 0.1]}}", [0, 1])
    with pytest.raises(SpecError, match="4 finished cells"):
        importance([made], store)


def test_numbers_are_a_range_and_the_rest_a_choice():
    assert _distribution([0.01, 1.0]).log
    assert not _distribution([0, 1.0]).log
    assert _distribution(["b", "a", "b"]).choices == ("a", "b")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_where_evaluators_disagree_shapley_is_nearest_to_the_truth(seed):
    """A made-up table of five axes and three seeds, of which the page of a factorial gives the mean errors of 30."""
    rng, design = np.random.default_rng(seed), designs.full(5)
    size = {1: 0.5, 2: 0.25}
    terms = [term for n in range(1, 6) for term in itertools.combinations(range(5), n)]
    effects = {term: rng.normal() * size.get(len(term), 0.05) for term in terms}
    truth = sum(v * designs.column(design, term) for term, v in effects.items())
    total = sum(v * v for v in effects.values())
    true = [sum(v * v / len(term) for term, v in effects.items() if i in term) / total for i in range(5)]
    factors = [dict(zip("abcde", map(str, run), strict=True)) for run in design for _ in range(3)]
    logs = [float(value + rng.normal() * 0.1) for value in truth for _ in range(3)]
    found = {**_evaluated(factors, logs), "Shapley": shapley(factors, logs)}
    errors = {
        name: max(abs(shares[axis] - t) for axis, t in zip("abcde", true, strict=True))
        for name, shares in found.items()
    }
    assert errors["Shapley"] < 0.02
    assert min(errors, key=errors.__getitem__) == "Shapley"
