"""Rows over budgets: comparisons stay within a budget, and predictions are made before anything is computed."""

from __future__ import annotations

import math

import pytest
from helpers.over_budgets import JITTER, TEXT, Run, fid
from helpers.recorded import put

from ablate.analysis import budgets, sequential
from ablate.analysis.lines import groups, sweeps, title
from ablate.analysis.results import Results
from ablate.planning.cells import bases
from ablate.report import figure, writer
from ablate.report.merged import merged
from ablate.runs.store import Store


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(figure, "draw", lambda *_: ([], True, {}))


def test_budgets_are_computed_from_the_smallest_and_predicted_before_they_start(run, monkeypatch):
    predicted = []
    real = budgets.predict

    def watched(experiment, table, store, folder, budget):
        begun = {row.budget for row in experiment.rows for key in row.keys if store.folder(key).path.exists()}
        predicted.append((budget, max(begun, default=0)))
        return real(experiment, table, store, folder, budget)

    monkeypatch.setattr(budgets, "predict", watched)
    assert run.compute() == [0.5, 1, 2, 4]
    assert predicted == [(0.5, 0), (1, 0.5), (2, 1), (4, 2)]
    assert [(line["budget"], line["row"]) for line in run.lines] == [
        (b, r) for b in (2, 4) for r in ("l2", "wide")
    ]
    assert all({"time", "images", "ratio", "low", "high", "seeds"} <= line.keys() for line in run.lines)
    assert all(found.inside for found in run.results.predictions)
    last = run.lines[-2]
    assert last["low"] < 8**0.3 < last["high"]
    assert (last["seeds"], last["from_images"]) == ([0, 1, 2], [5600, 11200, 22400])
    assert "2 effects predicted" in run.said[-1]


def test_a_prediction_is_never_changed_and_never_made_afterwards(run, no_figures):
    run.compute(0.5, 1)
    run.compute(0.5, 1, 2)
    before = run.file.read_bytes()
    run.compute()
    assert run.file.read_bytes().startswith(before)
    whole = run.file.read_bytes()
    assert run.compute() == [0.5, 1, 2, 4]
    writer.write(run.experiment, run.store, run.reports)
    assert run.file.read_bytes() == whole
    run.file.unlink()
    run.compute()
    assert not run.file.exists()


@pytest.mark.parametrize(("begun", "predicted"), [("ict", []), ("l2", ["wide"]), ("wide", ["l2"])])
def test_what_has_begun_elsewhere_is_not_predicted(run, begun, predicted):
    run.compute(0.5, 1)
    (row,) = [row for row in run.experiment.rows if (row.label, row.budget) == (begun, 2)]
    run.store.prepare(run.experiment.cells[row.keys[2]])
    run.compute(0.5, 1, 2)
    there = run.lines if run.file.exists() else []
    assert [line["row"] for line in there] == predicted


@pytest.mark.parametrize(
    "damage", ['{"row_key": "a", "ba', "[]\n", '{"row_key": 3, "ratio": "x"}\n', "\x00\n"]
)
def test_a_line_that_was_cut_off_costs_no_other(run, damage):
    run.compute(0.5, 1)
    run.file.write_text(damage)
    run.compute()
    assert run.file.read_text().startswith(damage)
    assert len(run.results.predictions) == len(budgets.read(run.folder)) == 4


def test_an_outside_is_called_outside(run):
    run.compute(
        fid=lambda row, budget, seed: fid(row, budget, seed) * (3 if row == "l2" and budget == 4 else 1)
    )
    assert [found.inside for found in run.results.predictions] == [True, True, False, True]


def test_a_diverged_run_leaves_its_budget_out_and_predicts_nothing_for_others_in_its_place(run):
    run.compute(0.5, 1)
    (row,) = [row for row in run.experiment.rows if (row.label, row.budget) == ("l2", 1)]
    put(run.store, run.experiment.cells[row.keys[0]], 1.0, state="diverged")
    run.compute()
    ict, l2, wide = run.results.tracks
    assert [len(track.points) for track in (l2, wide)] == [3, 4]
    assert l2.law is None
    assert ict.law.exponent == pytest.approx(0.4, abs=0.05)


def test_rows_are_compared_within_a_budget(run):
    run.compute()
    experiment, rows = run.experiment, run.experiment.rows
    found = bases(rows, [row.recipe.flat() for row in rows])
    assert found == [None, 0, 0, None, 3, 3, None, 6, 6, None, 9, 9]
    assert [len(group) for group in groups(rows)] == [3] * 4
    assert title(rows[:3]) == "Recipes, 0.5 times the images"
    for budget in experiment.budgets:  # as if it stood alone, but for the correction over all of them
        alone = Results(experiment.at(budget), run.store).versus
        here = [v for v, row in zip(run.results.versus, rows, strict=True) if row.budget == budget]
        assert [v and v.effect for v in here] == [v and v.effect for v in alone]


def test_a_sweep_has_the_rows_of_one_budget(tmp_path):
    text = "name: made\nbudgets: [1, 2]\nplan: [{grid: {metric.c: [0.1, 0.2, 0.3, 0.4]}}]"
    rows = Run(tmp_path, text).experiment.rows
    assert {rows[i].budget for i in sweeps(rows)["metric.c"]} == {1}


def test_the_largest_budget_decides_a_claim(run):
    run.compute(0.5, 1)
    assert [verdict.state for verdict in run.results.verdicts] == ["not run", "not run"]
    run.compute()
    assert [verdict.state for verdict in run.results.verdicts] == ["supported", "contradicted"]
    alone = Results(run.experiment.at(4), run.store).verdicts
    assert [v.p for v in run.results.verdicts] == [v.p for v in alone]


def test_an_open_claim_asks_for_a_seed_of_its_rows_at_every_budget(tmp_path):
    run = Run(tmp_path, TEXT.replace("[0, 1, 2]", "{min: 2, max: 3, until: decided}"))
    run.compute(fid=lambda row, budget, seed: JITTER[seed] * (20 if row != "wide" else 4))
    cells = sequential.further(run.experiment, run.store)
    assert {run.experiment.rows[i].label for i in cells} == {"ict", "l2"}
    assert len({cell.profile.images for cell in cells.values()}) == 4
    sequential.grow(run.experiment, cells)
    assert sum(len(row.keys) == 3 for row in run.experiment.rows) == 8


def test_rows_keep_their_budgets_with_claims_only(run):
    kept = sequential.claimed_only(run.experiment)
    assert len(kept.rows) == 12
    assert [len(part.rows) for part in kept.by_budget()] == [3] * 4


def test_a_report_made_from_its_records_has_all_budgets(run, tmp_path, no_figures):
    run.compute()
    folder = writer.write(run.experiment, run.store, run.reports)
    again = merged(run.experiment, Store(tmp_path / "nothing"), folder)
    assert [track.scores for track in again.tracks] == [track.scores for track in run.results.tracks]
    assert all(math.isfinite(v.ratio) for v in again.tracks[1].effects.values)
    assert writer._lost(run.experiment.only(run.experiment.rows[:3]), {run.experiment.rows[-1].keys[0]: 0})


def test_rows_that_are_equal_are_one(tmp_path):
    plan = "[{list: [{label: ict}, {label: again}, {label: l2, set: {metric: squared_l2}}]}]"
    run = Run(tmp_path, f"name: made\nseeds: [0, 1]\nbudgets: [1, 2]\nplan: {plan}")
    assert [track.label for track in run.results.tracks] == ["ict", "l2"]
