"""Tables and pages from synthetic records: nothing is trained here."""

from __future__ import annotations

import statistics
import subprocess
import sys

import pandas as pd
import pytest
from helpers.made import CLASSIFIER, LADDER, LIST, Made

from ablate.analysis import choices, reference
from ablate.analysis.frame import columns
from ablate.analysis.lines import distinct, groups, lowest, sweeps, varied
from ablate.core.formats import duration, number
from ablate.planning.cells import bases
from ablate.report import figure
from ablate.report.figures.fid import Fid
from ablate.report.markdown import Footnotes, table
from ablate.report.page import page
from ablate.report.tables import csv

CHANGE = ["change", "change_low", "change_high", "p"]
PER_SEED = ["fid_1step_seeds", "fid_2step_seeds"]
NAMES = ["row", "n", "fid_1step", "fid_1step_std", "fid_2step", "fid_2step_std"]


@pytest.fixture
def listed(tmp_path):
    return Made(tmp_path, LIST)


@pytest.fixture
def ladder(tmp_path):
    return Made(tmp_path, LADDER)


def test_csv_has_a_line_per_row_and_exactly_these_columns(listed):
    made = listed.put(0, 300.0, 310.0).put(1, 200.0, 220.0)
    assert list(made.csv.columns[:7]) == [*NAMES, "metric.c"]
    assert list(made.csv.columns[7:11]) == ["section", "diverged", "failed", "missing"]
    further = list(made.csv.columns)[list(made.csv.columns).index("keys") + 1 :]
    assert (further[:5], further[-4:]) == (["base", *CHANGE], ["extractor", "seeds", *PER_SEED])
    assert list(made.csv["row"]) == ["plain", "wide", "wider"]
    assert list(made.csv["n"]) == [2, 2, 0]
    assert list(made.csv["missing"]) == [0, 0, 2]


def test_csv_holds_every_field_in_which_rows_differ(ladder):
    fields = varied([row.recipe.flat() for row in ladder.experiment.rows])
    assert {"weighting", "metric", "metric.c", "teacher", "network.dropout"} <= set(fields)
    assert list(ladder.csv.columns[6 : 6 + len(fields)]) == fields
    assert ladder.csv["curriculum.s0"].dropna().eq(ladder.csv["curriculum.s0"].dropna().astype(int)).all()


def test_mean_and_std_are_of_the_sample(listed):
    first = listed.put(0, 300.0, 310.0).csv.iloc[0]
    assert first["fid_1step"] == 305.0
    assert first["fid_1step_std"] == pytest.approx(statistics.stdev([300.0, 310.0]))
    assert first["fid_2step"] == 152.5


def test_one_seed_has_no_std(listed):
    first = listed.put(0, 300.0).csv.iloc[0]
    assert first["fid_1step"] == 300.0
    assert pd.isna(first["fid_1step_std"])
    assert listed.one_step("plain") == "**300.0**"


def test_a_row_without_results_is_empty(listed):
    assert listed.csv[NAMES[2:]].isna().all(axis=None)
    assert set(listed.csv["n"]) == {0}
    assert listed.one_step("plain") == "not run"


def test_more_evaluations_have_columns_of_their_own(listed):
    made = listed.put(0, 300.0, nfes=(1, 3))
    assert list(made.csv.columns[:8]) == [*NAMES, "fid_3step", "fid_3step_std"]
    assert made.csv["fid_3step"][0] == 100.0


def test_the_frame_is_tidy(listed):
    made = listed.put(0, 300.0, 310.0).put(1, 200.0, 200.0, state="diverged")
    assert len(made.results.frame) == 2 * 2 + 2 + 2
    assert list(made.results.frame.query("row == 'plain' and nfe == 1")["fid"]) == [300.0, 310.0]
    assert set(made.results.frame["state"]) == {"finished", "diverged", "missing"}


def test_the_best_is_bold(listed):
    made = listed.put(0, 300.0, 310.0).put(1, 200.0, 207.0)
    assert made.one_step("wide") == "**203.5** ± 4.95"
    assert made.one_step("plain") == "305.0 ± 7.07"


def test_what_is_not_significantly_different_from_the_best_is_marked(listed):
    made = listed.put(0, 300.0, 310.0).put(1, 290.0, 315.0).put(2, 250.0)
    assert made.one_step("wider") == "**250.0**"  # the lowest, from one seed: no test is possible
    assert made.one_step("plain") == "305.0 ± 7.07"
    made.put(2, 250.0, 400.0)
    assert [made.one_step(label)[:2] for label in ("plain", "wide", "wider")] == ["≈ ", "**", "≈ "]


def test_a_row_that_lost_a_seed_is_not_the_best(listed):
    made = (
        listed.put(0, 300.0, 310.0)
        .put(1, 1.0, 1.0, state="diverged", reason="not finite at step 7")
        .put(1, 20.0)
    )
    assert made.one_step("wide") == "20.00"
    assert made.line("wide")["seeds"] == "1 (1 diverged)"
    assert made.one_step("plain").startswith("**305.0**")


def test_diverged_failed_and_missing_rows_say_so(listed):
    made = listed.put(0, 0, 0, state="diverged", reason="the loss is not finite at step 120")
    made.put(1, 0, 0, state="failed", reason="MemoryError: a | b\nc")
    assert made.one_step("plain") == "diverged (step 120)"
    assert made.one_step("wide").startswith("failed[^")
    assert "MemoryError: a | b c" in made.page
    assert made.one_step("wider") == "not run"
    assert list(made.csv["diverged"]) == [2, 0, 0]
    assert list(made.csv["failed"]) == [0, 2, 0]


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"n": 500}, "n=500"),
        ({"extractor": "inception-x"}, "inception-x"),
        ({"weights": "raw"}, "weights=raw"),
    ],
)
def test_values_measured_differently_get_separate_columns(listed, facts, name):
    made = listed.put(0, 300.0, 310.0).put(1, 200.0, 220.0, **facts)
    names = [c for c in made.csv.columns if c.startswith("fid_1step (")]
    assert "fid_1step" not in made.csv
    assert len(names) == 2
    assert any(name in column for column in names)
    assert made.csv[names].notna().sum(axis=1).tolist() == [1, 1, 0]
    assert sum("FID 1 step" in heading and name in heading for heading in made.line("wide")) == 1


def test_seeds_that_were_measured_differently_are_not_averaged(listed):
    made = listed.put(0, 300.0, 310.0, n=500).put(0, 100.0)
    row = made.csv.filter(regex=r"fid_1step \(").iloc[0]
    assert sorted(row) == [100.0, 310.0]


def test_the_metric_is_named_by_its_extractor(listed):
    heading = columns(listed.put(0, 300.0).results.frame)[0].heading
    assert heading == f"FID 1 step ({CLASSIFIER}, n=1000)"
    assert heading in listed.page


def test_changes_are_against_the_row_above_in_a_ladder(ladder):
    made = ladder.put(0, 400.0, 400.0).put(1, 100.0, 200.0)
    line = made.line("+ weighting=inverse_gap")
    assert line["change, 1 step"].startswith("×0.354 [×0.0")  # sqrt(100 / 400 * 200 / 400), with its interval
    assert (line["p (Holm)"], line["seeds to decide"]) == ("0.17", "4")
    assert made.line("ct")["change, 1 step"] == "-"


def test_changes_are_ratios_of_geometric_means_over_all_seeds_of_a_row(ladder):
    made = ladder.put(0, 400.0, 900.0).put(1, 150.0)
    assert made.line("+ weighting=inverse_gap")["change, 1 step"] == "-75.0%"


def test_a_row_that_spreads_more_than_its_base_is_called_unstable(ladder):
    made = ladder.put(0, 400.0, 400.1).put(1, 90.0, 2000.0)
    assert "Unstable: the standard deviation of log FID is" in made.page
    assert "[^" in made.line("+ weighting=inverse_gap")["row"]
    assert "Unstable" not in ladder.put(1, 100.0, 100.1).page


def test_bases_differ_from_their_rows_in_what_was_changed(ladder):
    rows = ladder.experiment.rows
    flats = [row.recipe.flat() for row in rows]
    whole = groups(rows)[1][0]
    found = bases(rows, flats)
    assert found[:whole] == [None, *range(whole - 1)]
    assert {rows[i].label for i in found[whole + 1 :]} == {"ict"}


def test_only_the_papers_own_recipes_have_published_numbers(ladder):
    """In a footnote: neither images nor extractor are the paper's."""
    rows = [row for row in ladder.experiment.rows if row.section == "ladder"]
    published = {label: "[^" in ladder.line(label)["row"] for label in (row.label for row in rows)}
    assert [label for label, noted in published.items() if noted] == ["ct", "ict"]
    assert "paper" not in ladder.line("ct")
    assert "CT on CIFAR-10 with 56.4 million parameters as published: FID 8.70 / 5.83" in ladder.page
    assert "iCT on CIFAR-10 with 56.4 million parameters as published: FID 2.83 / 2.46" in ladder.page
    assert "instead of 409,600,000" in ladder.page
    assert "metric lpips instead of squared_l2" in ladder.page


def test_published_numbers_have_a_column_where_they_compare(ladder):
    profile = ladder.experiment.profile
    evaluation = profile.evaluation.model_copy(update={"extractor": "inception", "samples": 50_000})
    data = profile.data.model_copy(update={"name": "cifar10"})
    for changed in ({"evaluation": evaluation}, {"data": data}):
        ladder.experiment.profile = profile.model_copy(update=changed)
        assert "paper" not in ladder.line("ct")
    ladder.experiment.profile = profile.model_copy(update={"evaluation": evaluation, "data": data})
    assert ladder.line("ct")["paper"].startswith("CT 8.70 / 5.83[^")
    assert "[^" not in ladder.line("ct")["row"]
    assert ladder.line("+ teacher=none")["paper"] == "-"


def test_the_last_row_of_a_ladder_names_its_own_change(ladder):
    assert ladder.line("ict")["row"].startswith("ict (+ network.dropout=0.3)")
    assert ladder.line("ict", 1)["row"].startswith("ict[")
    assert ladder.line("+ teacher=none")["row"] == "+ teacher=none"


def test_csv_has_changes_as_ratios_and_values_seed_by_seed(ladder):
    csv = ladder.put(0, 400.0, 400.0).put(1, 100.0, 200.0).put(2, 50.0).csv
    first, second, third = (csv.iloc[i] for i in range(3))
    assert first[["base", *CHANGE]].isna().all()
    assert (second["base"], second["change"]) == ("ct", pytest.approx(8**-0.5))
    assert second["change_low"] < second["change"] < second["change_high"]
    assert 0 < second["p"] <= 1
    assert (third["change"], third[["change_low", "p"]].isna().all()) == (pytest.approx(8**-0.5), True)
    assert [row["extractor"] for row in (first, second, third)] == [CLASSIFIER] * 3
    assert (second["seeds"], second["fid_1step_seeds"], second["fid_2step_seeds"]) == (
        "0 1",
        "100.0 200.0",
        "50.0 100.0",
    )
    assert (str(third["seeds"]), str(third["fid_1step_seeds"])) == ("0", "50.0")
    assert csv.iloc[3][["extractor", "seeds", *PER_SEED]].isna().all()


def test_csv_names_both_extractors_of_a_row_and_leaves_gaps_between_its_seeds(listed):
    made = listed.put(0, 300.0, 310.0, extractor="inception-x").put(0, 100.0).put(1, 7.0)
    row = made.csv.iloc[0]
    assert row["extractor"] == f"{CLASSIFIER} inception-x"
    values = sorted(row.filter(regex="fid_1step_seeds"))
    assert (row["seeds"], values) == ("0 1", ["100.0 nan", "nan 310.0"])


def test_without_a_reference_there_is_no_paper_column(ladder, monkeypatch):
    monkeypatch.setattr(reference, "location", lambda: None)
    assert "paper" not in ladder.line("ct")
    assert "No reference.yaml" in ladder.page


def test_design_choices_stand_side_by_side(ladder):
    left, before, right, after = choices.ends(ladder.experiment.rows)
    lines_, common = choices.side_by_side(before, after)
    assert (left, right) == ("ct", "ict")
    assert ["weighting", "uniform", "inverse_gap"] in lines_
    assert ["embedding", "fourier (scale 16)", "fourier (scale 0.02)"] in lines_
    assert "levels karras" in common


def test_design_choices_of_a_leave_one_out_are_joined_from_its_rows(tmp_path):
    made = Made(tmp_path, "\n  - leave_one_out: {from: ict, to: ct}\n")
    full = Made(tmp_path, LADDER)
    assert choices.ends(made.experiment.rows)[1] == choices.ends(full.experiment.rows)[1]


def test_the_page_states_the_real_fid_cost_and_provenance(listed):
    text = listed.put(0, 300.0, 310.0).page
    assert f"FID of real images against held-out ones: 7.30 ({CLASSIFIER}, n=1000)." in text
    assert "2 cells took 2 min 00 s of worker time in all" in text
    assert "- Commit: `c0ffee`" in text
    assert "6 cells: 2 finished, 4 not run" in text


def test_the_page_states_mixed_commits(listed):
    listed.put(0, 300.0, 310.0)
    file = listed.store.folder(listed.experiment.rows[0].keys[0]).record
    file.write_text(file.read_text().replace("c0ffee", "decaf"))
    assert "Mixed commits" in listed.page


def test_equal_cells_cost_once(ladder):
    last = len(groups(ladder.experiment.rows)[0]) - 1
    made = ladder.put(last, 300.0, 310.0)
    assert "2 cells took 2 min 00 s" in made.page
    assert made.one_step("ict", 0) == made.one_step("ict", 1) == "**305.0** ± 7.07"


def test_a_second_write_redraws_nothing(listed, monkeypatch):
    folder = listed.put(0, 300.0, 310.0).write()
    assert {p.name for p in folder.iterdir()} >= {"table.md", "table.csv", "fid.png"}
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    monkeypatch.setattr(figure, "draw", lambda *_: pytest.fail("drawn again"))
    listed.write()
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    (folder / "table.md").unlink()
    assert (listed.write() / "table.md").is_file()


def test_a_new_record_is_drawn(listed, monkeypatch):
    listed.write()
    seen = []
    monkeypatch.setattr(figure, "draw", lambda *_: (seen.append(1) or [], True, {}))
    listed.put(0, 300.0).write()
    assert seen == [1]
    assert "**300.0**" in (listed.reports / "made" / "table.md").read_text()


@pytest.mark.parametrize("state", ["none", "diverged"])
def test_nothing_measured_has_tables_and_no_fid_figure(listed, state):
    if state == "diverged":
        for i in range(3):
            listed.put(i, 0, 0, state="diverged", reason="samples of 1 steps are not finite")
    folder = listed.write()
    assert sorted(p.name for p in folder.iterdir()) == [
        ".written.json",
        "index.html",
        "of.json",
        "records.jsonl",
        "table.csv",
        "table.md",
        "table.tex",
    ]


def test_a_long_table_is_shortened_on_the_page_alone(tmp_path):
    values = [round(0.001 * i, 3) for i in range(1, 13)]
    made = Made(
        tmp_path, f"\n  - grid: {{metric.c: {values}, noise.p_mean: [-1.1, -1.0, -0.9, -0.8]}}\n", "[0]"
    )
    for i in range(48):
        made.put(i, 148.0 - i)
    results = made.results
    assert "Of the 48 rows, at most 40, those with the lowest FID, are shown." in page(results, ["fid.png"])
    assert len(csv(results).splitlines()) == 49
    assert [line.index for line in lowest(results.lines, 40)] == [*range(8, 48)]
    assert Fid().draw(results, tmp_path / "fid.png")


def test_equal_rows_are_drawn_once_the_first_of_them(ladder):
    lines = ladder.results.lines
    shown = [line.index for line in distinct(lines)]
    assert shown == sorted(shown)
    assert (
        len({lines[i].row.keys for i in shown})
        == len(shown)
        == len({row.keys for row in ladder.experiment.rows})
    )
    assert all(lines[i].row.keys not in {line.row.keys for line in lines[:i]} for i in shown)


def test_a_sweep_is_four_values_of_a_number_that_rows_vary_alone(tmp_path):
    grid = "\n  - grid: {metric.c: [0.001, 0.01, 0.1, 1.0], noise.p_mean: [-1.0, -0.9, -0.8]}\n"
    found = sweeps(Made(tmp_path, grid).experiment.rows)
    assert {field: sorted(rows.values()) for field, rows in found.items()} == {
        "metric.c": [0.001, 0.01, 0.1, 1.0]
    }


def test_lines_count_states(listed):
    listed.put(0, 300.0).put(1, 0, 0, state="failed", reason="x")
    assert [dict(line.states) for line in listed.results.lines][1] == {"failed": 2}


def test_importing_the_report_and_all_figures_is_light():
    heavy = "pandas", "matplotlib", "seaborn", "PIL", "torch"
    code = "import sys, ablate.report.writer, ablate.report.figure as f; assert len(f.figures()) >= 7; "
    code += f"print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_markdown_pieces():
    notes = Footnotes()
    assert [notes("a"), notes("b"), notes("a")] == ["[^1]", "[^2]", "[^1]"]
    assert [number(v) for v in (1234.5, 12.345, 0.0012)] == ["1,234.5", "12.35", "0.0012"]
    assert [duration(s) for s in (42, 200, 18240)] == ["42 s", "3 min 20 s", "5 h 04 min"]
    assert "a \\| b" in table(["x"], [["a | b"]])
