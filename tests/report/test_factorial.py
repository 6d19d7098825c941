"""The part of a page about a factorial: numbers, what diverged, fractions, figures and `effects.csv`."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
from helpers.made import Made
from PIL import Image

from ablate.planning.factorial import factorials
from ablate.report import factorial

FULL = "\n  - factorial: {from: ct, to: ict, axes: [metric, teacher, noise], resolution: full}\n"
LARGE = "\n  - factorial: {from: ct, to: ict, axes: [metric, teacher, noise, network, embedding], resolution: full}\n"
FOUR = "\n  - factorial: {from: ct, to: ict, resolution: IV}\n"
MAIN = {"metric": 0.3, "teacher": -2.0, "noise": -0.5}


def made(folder, plan, seeds="[0, 1, 2]", only=None, pair=0.4, lost=()):
    """An experiment whose log FIDs have these main effects, and an interaction of metric and teacher."""
    table, rng = Made(folder, plan, seeds), np.random.default_rng(0)
    for i, row in enumerate(table.experiment.rows[:only]):
        levels = row.levels or dict.fromkeys(MAIN, -1)
        log = 4 + sum(v / 2 * levels.get(axis, -1) for axis, v in MAIN.items())
        log += pair / 2 * levels.get("metric", -1) * levels.get("teacher", -1)
        if i in lost:
            table.put(i, *[0.0] * len(row.keys), state="diverged", reason="loss is NaN at step 100")
        else:
            table.put(i, *(math.exp(log + rng.normal() * 0.02) for _ in row.keys))
    return table


def effects(table):
    return pd.read_csv(io.StringIO(factorial.csv(table.results)))


def test_the_part_and_the_csv_have_the_effects(tmp_path):
    table = made(tmp_path / "a", FULL)
    page = table.page
    assert "## Effects between ct and ct + metric + teacher + noise" in page
    assert "24 cells of 8 recipes are in the fit" in page
    assert "3 main effects and 3 two-way interactions: " in page
    assert "(degrees of freedom: 6 for main effects, 6 for interactions)" in page
    assert "Not every recipe is in the fit" not in page
    found = effects(table).set_index(["quantity", "axes"])["value"]
    for axis, value in MAIN.items():
        assert found["main effect", axis] == pytest.approx(value, abs=0.03)
        assert found["Shapley value", axis] == pytest.approx(value, abs=0.05)
    assert found["interaction", "metric x teacher"] == pytest.approx(0.4, abs=0.03)
    assert found["step in the one ladder", "metric"] == pytest.approx(0.3 - 0.4, abs=0.05)
    assert found["least step", "teacher"] == pytest.approx(-2.4, abs=0.1)
    assert found["most step", "teacher"] == pytest.approx(-1.6, abs=0.1)
    assert sum(found["share of the way"]) == pytest.approx(1)
    assert sum(found["share of the variance"]) == pytest.approx(1)
    line = next(x for x in page.splitlines() if x.startswith("| metric x teacher"))
    assert "×1.4" in line or "×1.5" in line
    assert "**<0.001**" in line
    assert "trust Shapley" in page


def test_the_best_is_predicted_and_measured(tmp_path):
    page = made(tmp_path / "a", FULL).page
    assert "The fit predicts the lowest FID for ct + teacher + noise: " in page
    assert "The lowest measured mean is " in page


@pytest.mark.parametrize("lost", [(2,), (0, 5)])
def test_what_diverged_is_named_and_in_no_fit(tmp_path, lost):
    table = made(tmp_path / "a", LARGE, lost=lost)
    rows = [table.experiment.rows[i].label for i in lost]
    page = table.page
    said = next(x for x in page.splitlines() if x.startswith("Diverged, and in no fit: "))
    assert all(f"{label} (3 of 3 seeds)" in said for label in rows)
    assert f"{3 * (32 - len(lost))} cells of {32 - len(lost)} recipes are in the fit" in page
    assert "so they include how much interactions of three axes and more may bias an effect" in page
    assert "Not every combination has results" in page
    assert "trust Shapley" not in page


def test_before_effects_can_be_estimated_their_number_is_shown(tmp_path):
    page = made(tmp_path / "a", FULL, only=4).page
    assert "4 recipes of 8 have no result so far." in page
    assert "effects are shown as soon as" in page
    assert made(tmp_path / "b", FULL, only=0).page.count("8 recipes of 8 have no result so far.") == 1


def test_a_fraction_says_its_aliases(tmp_path):
    table = made(tmp_path / "a", FOUR, seeds="[0, 1]")
    (levels,) = factorials(table.experiment.rows)
    axes = [*next(iter(levels.values()))]
    page = table.page
    assert (
        "This fraction has 16 of 128 combinations. Confounded, so that each effect above is the sum of its set"
        in page
    )
    a, b, c, _, e, f, g = axes
    assert f"{a} x {b} = {c} x {e} = {f} x {g}" in page  # AB = CE = FG
    shares = effects(table)
    assert f"{c} x {e}; {f} x {g}" in {*shares["aliases"].dropna()}
    assert "share of the variance" not in {*shares["quantity"]}


def test_where_so_few_recipes_are_left_that_three_axes_cannot_be_seen_the_page_says_so(tmp_path):
    page = made(tmp_path / "a", FULL, lost=(5,)).page
    assert "so they assume that no three axes interact, which so few recipes cannot show" in page


@pytest.mark.parametrize("plan", ["{from: ct, to: ict, runs: 8}", "{from: ct, to: ict, runs: 64}"])
def test_one_seed_has_no_interval(tmp_path, plan):
    table = made(tmp_path / "a", f"\n  - factorial: {plan}\n", seeds="[0]")
    assert "There is no interval and no p" in table.page
    line = next(x for x in table.page.splitlines() if x.startswith("| teacher ") and "×" in x)
    assert "[" not in line
    assert line.split("|")[3].strip() == "-"
    assert effects(table)["low"].isna().all()


def test_a_large_factorial_shows_its_lowest_rows(tmp_path):
    table = made(tmp_path / "a", LARGE)
    section = next(t for t in table.page.split("\n\n") if t.startswith("| row ") and "FID" in t).splitlines()[
        2:
    ]
    assert len(section) == 20
    fids = [float(line.split(" | ")[1].strip("|≈* ").split(" ")[0].strip("*")) for line in section]
    assert fids == sorted(fids)
    assert "the 20 lowest of 32; `table.csv` has all" in table.page
    assert len(table.csv) == 32


def test_the_figures_are_drawn_and_shown(tmp_path):
    table = made(tmp_path / "a", FULL)
    folder = table.write()
    for name in ("interactions.png", "half_normal.png"):
        assert Image.open(folder / name).width > 500
        assert f"]({name})" in (folder / "table.md").read_text()
    before = (folder / "effects.csv").read_text()
    (folder / "effects.csv").unlink()
    table.write()  # a file that is gone is written again
    assert (folder / "effects.csv").read_text() == before


def test_other_experiments_have_no_such_part(tmp_path):
    table = Made(tmp_path / "a", "\n  - grid: {metric.c: [0.1, 0.2], noise.p_mean: [-1.0, -2.0]}\n")
    for i in range(4):
        table.put(i, 10.0, 11.0)
    folder = table.write()
    assert "## Effects between" not in table.page
    assert not {"effects.csv", "interactions.png", "half_normal.png"} & {f.name for f in folder.iterdir()}


FIVE = "\n  - factorial: {from: ct, to: ict, axes: [metric, teacher, noise, weighting, curriculum], %s}\n"


@pytest.mark.parametrize(
    ("plan", "lost", "saturated"),
    [
        (FIVE % "resolution: V", (), True),  # 16 recipes; the constant, 5 main effects and 10 interactions
        (FULL, (5,), True),  # 7 recipes and 7 terms
        (FULL, (), False),
        (FIVE % "resolution: full", (), False),
        (FOUR, (), False),  # 7 main effects and 7 sets of interactions of 16 recipes
    ],
)
def test_a_fit_that_repeats_what_was_measured_says_so(tmp_path, plan, lost, saturated):
    page = made(tmp_path / "a", plan, lost=lost).page
    assert ("show how well they describe the recipes" in page) == saturated
    assert ("% of the variance between recipes" in page) != saturated
    assert "what the fit leaves unexplained included" not in page or not saturated
    assert ("which this fit repeats" in page) <= saturated


def whole_way(page):
    return next(x for x in page.splitlines() if x.startswith("From ct to "))


@pytest.mark.parametrize("plan", [FIVE % "resolution: V", FULL, FOUR, FIVE % "runs: 8"])
def test_the_whole_way_is_the_measured_one(tmp_path, plan):
    table = made(tmp_path / "a", plan)
    of_ends = [(i, row) for i, row in enumerate(table.experiment.rows) if not row.changed]
    last = max(range(len(table.experiment.rows)), key=lambda i: sum(table.experiment.rows[i].levels.values()))
    table.put(of_ends[0][0], 100.0, 100.0, 100.0).put(last, 36.0, 36.0, 36.0)
    whole = min(table.experiment.rows[last].levels.values()) > 0
    assert ("FID changes to ×0.36" in whole_way(table.page)) == whole
    if whole:
        assert table.line(table.experiment.rows[last].label)["change, 1 step"].startswith("-64.0%")


def test_where_an_end_has_no_result_the_way_is_that_of_the_fit(tmp_path):
    page = made(tmp_path / "a", LARGE, lost=(0,)).page
    assert whole_way(page).split(". ")[0].endswith("by the fit")


@pytest.mark.parametrize(
    ("ladder", "words"),
    [("", False), ("  - ladder: {from: ct, to: ict, order: [metric, teacher, noise]}\n", True)],
)
def test_a_column_without_a_value_is_left_out(tmp_path, ladder, words):
    table = made(tmp_path / "a", FOUR + ladder)
    for i in range(len(table.experiment.rows)):
        table.put(i, 20.0 + i, 21.0 + i, 20.5 + i)
    head = next(x for x in table.page.splitlines() if "main effect" in x and x.startswith("| axis"))
    assert ("in the one ladder" in head) == words
    assert ("the one ladder is that of this page" in table.page) == words
    assert "in any ladder" not in head
    assert "share of the variance" not in head
