"""Pages of rows whose cells read others: images, cells, costs and keys of both are there."""

from __future__ import annotations

import pytest
from helpers.over_budgets import JITTER, Run
from helpers.recorded import put

from ablate.report.page import page

SHARED = "{label: cd, base: cd}"
OTHER = "{{label: {0}, base: cd, set: {{direction: {{name: network, recipe: edm{1}}}{2}}}}}"
FROM = ", init_from: {{name: recipe, recipe: edm{}}}"
QUARTER = OTHER.format("quarter", ", share: 0.25", FROM.format(", share: 0.25"))
APART = OTHER.format("apart", "", FROM.format(""))
TWO = OTHER.format("two", ", share: 0.25", "")  # two denoisers


def made(folder, *rows, budgets="budgets: [0.5, 1]\n", computed=True):
    text = f"name: made\nseeds: [0, 1]\n{budgets}plan: [{{list: [{{label: ict}}, {', '.join(rows)}]}}]\n"
    run = Run(folder, text)
    for cell in run.experiment.all_cells.values() if computed else ():
        put(run.store, cell, 20.0 * JITTER[cell.seed] * cell.profile.images**-0.3)
    return run


def setting(text):
    return next(part for part in text.split("\n\n") if part.startswith("Profile digits"))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([SHARED], "cd (2,800 or 5,600 images of its own, 5,600 or 11,200 with those of edm)."),
        ([QUARTER], "quarter (4,192 or 8,400 images of its own, 5,600 or 11,200 with those of edm)."),
        ([APART], "apart (5,600 or 11,200 images of its own, 11,200 or 22,400 with those of edm)."),
        ([TWO], "two (1,392 or 2,800 images of its own, 5,600 or 11,200 with those of edm)."),
        ([SHARED, APART], "of edm); apart (5,600 or"),
    ],
)
def test_the_setting_says_which_images_a_row_has(tmp_path, rows, words):
    run = made(tmp_path, *rows)
    said = setting(page(run.results, []))
    assert words in said
    assert "A cell of these rows reads another" in said
    n = len(run.experiment.needed)
    assert (
        f"{len(run.experiment.cells)} cells: {len(run.experiment.cells)} finished; {n} cells: {n} finished"
        in said
    )


@pytest.mark.parametrize("rows", [[SHARED], [APART], [QUARTER, APART, TWO]])
def test_all_cells_are_counted_and_listed(tmp_path, rows):
    run = made(tmp_path, *rows)
    text, every = page(run.results, []), run.experiment.all_cells
    assert f"{len(every)} cells, with those that others read, took" in text
    assert all(key in text.split("## Rows and keys")[1] for key in every)
    assert "edm for " in text
    assert made(tmp_path, *rows).results.records.keys() == run.experiment.cells.keys()


@pytest.mark.parametrize(
    ("rows", "totals", "said"),
    [
        ([SHARED], {"cd": (5600, 11200)}, ""),
        ([APART], {"apart": (11200, 22400)}, "apart (11,200 or 22,400)"),
        (
            [QUARTER, APART],
            {"quarter": (5600, 11200), "apart": (11200, 22400)},
            "says: apart (11,200 or 22,400).",
        ),
    ],
)
def test_laws_and_first_sentence_count_the_images_of_both(tmp_path, rows, totals, said):
    run = made(tmp_path, *rows)
    found = {track.label: track for track in run.results.tracks}
    assert {label: found[label].totals for label in totals} == totals
    assert found["ict"].totals == found["ict"].images
    for label, numbers in totals.items():
        assert found[label].law.unit == pytest.approx((numbers[0] * numbers[1]) ** 0.5)
    text = page(run.results, [])
    assert ("than the heading of a column says" in text) == bool(said)
    assert said in text
    assert ("at 11,200 to 22,400 images" in text.split("\n\n")[1]) == ("apart" in totals)


@pytest.mark.parametrize("budgets", ["", "budgets: [1, 2]\n"])
def test_pages_without_such_rows_say_nothing(tmp_path, budgets):
    text = page(made(tmp_path, "{label: wide, set: {metric.c: 0.1}}", budgets=budgets).results, [])
    assert "read" not in setting(text)
    assert "that others read" not in text


def test_before_they_are_computed_they_are_not_run(tmp_path):
    said = setting(page(made(tmp_path, SHARED, computed=False).results, []))
    assert "8 cells: 8 not run; 4 cells: 4 not run, which others read." in said
