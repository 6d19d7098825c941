"""The page of an experiment with budgets: tables, words, figure, CSV."""

from __future__ import annotations

import csv
import io

import pytest
from helpers.over_budgets import JITTER, TEXT, Run, fid

from ablate.report import budgets, latex, tables
from ablate.report.figures.budgets import Budgets
from ablate.report.page import page


def rows(text, *heading):
    """The lines by their first cell, of the table whose headings begin so."""
    parts = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    found = [[[cell.strip() for cell in line.strip("|").split("|")] for line in part] for part in parts]
    (one,) = [cells for cells in found if cells[0][: len(heading)] == [*heading]]
    return {line[0]: line[1:] for line in one}


@pytest.fixture
def run(tmp_path):
    made = Run(tmp_path)
    made.compute()
    return made


def test_tables_of_laws_effects_claims_and_predictions(run):
    text = "\n\n".join(budgets.part(run.results))
    laws, changes = rows(text, "FID 1 step"), rows(text, "change", "against", "5,600 images")
    assert laws["FID 1 step"] == ["5,600 images", "11,200 images", "22,400 images", "44,800 images", "law"]
    assert laws["ict"][0] == "26.38"
    assert "(n / 15,839)^-0.40 [" in laws["ict"][-1]
    assert changes["l2"][-1] == "grows"
    assert changes["wide"][-1] == "stays"
    assert changes["wide"][1].startswith("+20.0% [")
    claims, predicted = rows(text, "", "claim"), rows(text, "change", "against", "images")
    assert claims["P5"][-1].startswith("supported: -46.4%")
    assert claims["P5"][1].startswith("undecided: +0.0%")
    assert predicted["l2"][-1] == "inside"
    assert "4 of 4 seen so far are inside" in text


def test_the_page_names_the_budgets_and_its_first_sentence_is_of_the_largest(run):
    text = page(run.results, [])
    assert "5,600 or 11,200 or 22,400 or 44,800 images per cell" in text
    assert "## Recipes, 4 times the images" in text
    first = text.split("\n\n")[1]
    assert first.startswith("The lowest one-step FID of 3 rows is 11.49 (ict) at 44,800 images")
    assert "2 claims" in first
    assert "Recipes, 4 times the images" in latex.latex(run.results)


def test_before_anything_and_half_way(tmp_path):
    run = Run(tmp_path)
    assert rows("\n\n".join(budgets.part(run.results)), "FID 1 step")["ict"] == ["-"] * 5
    run.compute(0.5)
    text = "\n\n".join(budgets.part(run.results))
    assert rows(text, "change", "against", "5,600 images")["wide"][1:] == [
        "+20.0% [+12.1%, +28.4%]",
        "-",
        "-",
        "-",
        "-",
        "-",
        "open",
    ]
    assert "at 5,600 images" in page(run.results, []).split("\n\n")[1]
    run.compute(0.5, 1, 2)
    assert "not run" in rows("\n\n".join(budgets.part(run.results)), "", "claim")["P5"][-1]


def test_the_csv_has_a_budget_column_only_with_budgets(run, tmp_path):
    lines = [*csv.DictReader(io.StringIO(tables.csv(run.results)))]
    assert [float(line["budget"]) for line in lines] == [b for b in (0.5, 1, 2, 4) for _ in range(3)]
    (tmp_path / "plain").mkdir()
    plain = Run(tmp_path / "plain", TEXT.replace("budgets: [0.5, 1, 2, 4]\n", ""))
    assert "budget" not in tables.csv(plain.results)
    assert budgets.part(plain.results) == []
    assert not Budgets().draw(plain.results, tmp_path / "none.png")


def test_the_figure_is_drawn_from_two_budgets_on(tmp_path):
    run = Run(tmp_path)
    run.compute(0.5)
    assert not Budgets().draw(run.results, tmp_path / "a.png")
    run.compute(0.5, 1)
    assert Budgets().draw(run.results, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_labels_of_all_budgets_differ(run):
    results = run.results
    assert len(results.row_means()) == 12
    assert "ict, 4 times the images" in results.row_means()
    assert len({name for name in results.metrics() if name.startswith("fid_1step_mean")}) == 12


@pytest.mark.parametrize("budget", [0.5, 1, 4])
@pytest.mark.parametrize("spread", [1.0, 0.01])  # without a floor, l2 would have a spread of its own
def test_an_effect_has_one_interval_on_a_page(tmp_path, budget, spread):
    def values(row, budget, seed):
        return fid(row, budget, seed) * (JITTER[seed] ** (spread - 1) if row == "l2" else 1)

    run = Run(tmp_path)
    run.compute(fid=values)
    at = {0.5: 0, 1: 1, 4: 3}[budget]
    _, l2, _ = run.results.tracks
    versus = run.results.versus[l2.rows[at]].effect
    here = l2.effects.values[at]
    assert (here.ratio, here.low, here.high) == pytest.approx((versus.ratio, versus.low, versus.high))
    assert (here.raised > 0) == (spread < 1)
    cell = rows("\n\n".join(budgets.part(run.results)), "change", "against", "5,600 images")["l2"][1 + at]
    assert cell in page(run.results, []).split("## Effects over budget")[0]


@pytest.mark.parametrize("lost", [0.5, 1, 4])
def test_one_seed_at_a_budget_leaves_effect_without_interval_and_trend_open(tmp_path, lost):
    run = Run(tmp_path)
    run.compute()
    for row in run.experiment.rows:
        for key in row.keys[1:] if row.budget == lost else ():
            run.store.folder(key).record.unlink()
    line = rows("\n\n".join(budgets.part(run.results)), "change", "against", "5,600 images")["l2"]
    at = {0.5: 0, 1: 1, 4: 3}[lost]
    assert ["[" in cell for cell in line[1:5]] == [i != at for i in range(4)]
    assert line[5:] == ["-", "-", "open"]
    assert Budgets().draw(run.results, tmp_path / "a.png")
