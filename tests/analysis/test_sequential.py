"""Seeds until the claims are decided: the same records ask for the same cells."""

from __future__ import annotations

import json

import pytest

from ablate.analysis import sequential
from ablate.core.errors import SpecError
from ablate.execution import runner
from ablate.planning.planner import load
from ablate.runs.store import Store

TEXT = """
name: made
seeds: {min: 2, max: 5, until: decided}
plan: [{grid: {metric.c: [0.01, 0.1, 1.0]}}]
claims:
  - {id: clear, says: s, better: {metric.c: 0.01}, worse: {metric.c: 0.1}}
  - {id: open, says: s, better: {metric.c: 0.01}, worse: {metric.c: 1.0}}
"""
OPEN = [20.0, 30.0, 15.0, 40.0, 10.0]


def computed(experiment, store):
    """Records of all cells that have none: c=0.1 is clearly worse, c=1 now better and now worse."""
    new = 0
    for row in experiment.rows:
        for seed, key in enumerate(row.keys):
            c = row.recipe.flat()["metric.c"]
            value = {0.01: 20.0 + 0.001 * seed, 0.1: 2000.0 + 0.1 * seed}.get(c, OPEN[seed])
            entry = {
                "nfe": 1,
                "value": value,
                "n": 9,
                "extractor": "e",
                "reference": "r",
                "weights": "ema",
                "sigmas": [80],
            }
            if not store.record(key):
                folder = store.folder(key)
                folder.path.mkdir(parents=True, exist_ok=True)
                record = {
                    "key": key,
                    "state": "finished",
                    "images": 1,
                    "wall_s": 3600.0,
                    "fid": [entry],
                    "seed": seed,
                }
                folder.record.write_text(json.dumps(record))
                new += 1
    return new


@pytest.fixture
def made(tmp_path):
    (tmp_path / "made.yaml").write_text(TEXT)
    return tmp_path / "made.yaml", Store(tmp_path / "runs")


def decided(file, store, hours=None):
    experiment, said, counts = load(file), [], []

    def compute():
        counts.append(computed(experiment, store))
        return True

    sequential.decide(experiment, store, compute, sequential.Budget(hours, 1), said.append)
    return experiment, said, counts


def test_only_rows_of_open_claims_get_seeds(made):
    experiment, _, counts = decided(*made)
    assert [len(row.keys) for row in experiment.rows] == [5, 2, 5]
    assert counts == [6, 2, 2, 2]
    assert experiment.seeds == (0, 1, 2, 3, 4)


def test_again_costs_nothing_and_reports_see_the_same(made):
    file, store = made
    first, _, _ = decided(file, store)
    again, _, counts = decided(file, store)
    assert sum(counts) == 0
    assert [r.keys for r in again.rows] == [r.keys for r in first.rows]
    assert [r.keys for r in sequential.recorded(load(file), store.path).rows] == [r.keys for r in first.rows]


def test_what_is_half_done_is_gone_on_with(made):
    file, store = made
    decided(file, store)
    last = load(file, seeds=[4]).rows[2].keys[0]
    store.folder(last).record.unlink()
    assert [len(r.keys) for r in sequential.recorded(load(file), store.path).rows] == [4, 2, 4]
    _, _, counts = decided(file, store)
    assert sum(counts) == 1


def test_the_budget_ends_it(made):
    experiment, said, _ = decided(*made, hours=0.5)
    assert [len(row.keys) for row in experiment.rows] == [2, 2, 2]
    assert "hours are used up" in said[-1]


def test_seeds_of_the_command_line_are_those_and_no_more(made):
    file, store = made
    experiment = load(file, seeds=[0])
    computed(experiment, store)
    assert not sequential.further(experiment, store)
    assert experiment.analyses == 1


def test_failures_end_it(made):
    file, store = made
    experiment = load(file)
    computed(experiment, store)
    sequential.decide(experiment, store, lambda: False, sequential.Budget(None, 1), pytest.fail)
    assert [len(row.keys) for row in experiment.rows] == [2, 2, 2]


def test_rows_that_no_claim_compares_need_no_records(tmp_path):
    (tmp_path / "made.yaml").write_text(TEXT.replace("[0.01, 0.1, 1.0]", "[0.01, 0.1, 0.5, 1.0]"))
    file, store = tmp_path / "made.yaml", Store(tmp_path / "runs")
    chosen = sequential.claimed_only(load(file))
    assert [row.recipe.flat()["metric.c"] for row in chosen.rows] == [0.01, 0.1, 1.0]
    assert len(chosen.cells) == 6
    assert any("1 of 4 rows" in note for note in chosen.notes)
    sequential.decide(chosen, store, lambda: computed(chosen, store) >= 0, sequential.Budget(None, 1), print)
    later = sequential.recorded(
        load(file), store.path
    )  # the further seeds are found without the row in between
    assert [len(row.keys) for row in later.rows] == [5, 2, 2, 5]


def test_a_file_without_claims_has_no_rows_for_them(tmp_path):
    (tmp_path / "plain.yaml").write_text("name: plain\nplan: [{grid: {metric.c: [0.01, 0.1]}}]\n")
    with pytest.raises(SpecError, match="has no claims"):
        sequential.claimed_only(load(tmp_path / "plain.yaml"))


def test_the_first_seed_of_all_rows_comes_before_the_second(made):
    file, store = made
    cells, _ = runner.missing(load(file), store)
    assert [cell.seed for cell in cells] == [0, 0, 0, 1, 1, 1]
