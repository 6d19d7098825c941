"""Reports from synthetic records: nothing is trained here."""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from ablate.analysis import choices, reference, verdicts
from ablate.analysis.frame import columns, frame, records
from ablate.analysis.lines import bases, groups, lines, varied
from ablate.core.formats import duration, number
from ablate.planning.planner import load
from ablate.report import writer
from ablate.report.markdown import Footnotes, table
from ablate.report.page import page
from ablate.report.tables import csv
from ablate.runs.store import Store

LADDER = """
  - ladder: {from: ct, to: ict, order: [weighting, teacher, metric]}
  - leave_one_out: {from: ict, to: ct}
"""
LIST = """
  - list: [{label: plain}, {label: wide, set: {metric.c: 0.1}}, {label: wider, set: {metric.c: 0.2}}]
"""
NAMES = ["row", "n", "fid_1step", "fid_1step_std", "fid_2step", "fid_2step_std"]
CLASSIFIER = "classifier-1a2b3c4d"


def measured(value, nfes=(1, 2), **facts):
    """Entries of one metric, as a worker writes them."""
    common = {
        "n": 1000,
        "extractor": CLASSIFIER,
        "reference": "heldout-797-0a0b0c0d",
        "weights": "ema",
    } | facts
    levels = [80.0, 0.821, 0.3]
    return [{**common, "nfe": nfe, "sigmas": levels[:nfe], "value": value / nfe} for nfe in nfes]


class Made:
    """An experiment with records as a test says them."""

    def __init__(self, folder: Path, plan: str, seeds: str = "[0, 1]"):
        folder.mkdir(exist_ok=True)
        file = folder / "made.yaml"
        file.write_text(f"name: made\nsummary: A made table.\nseeds: {seeds}\nplan:{plan}")
        self.experiment, self.store, self.reports = load(file), Store(folder / "runs"), folder / "reports"

    def put(self, index, *values, state="finished", reason=None, **more):
        """Records of a row's first seeds; a value is the one-step FID."""
        row = self.experiment.rows[index]
        for seed, (key, value) in enumerate(zip(row.keys, values, strict=False)):
            record = self.record(key, row, seed) | {"state": state}
            record |= {"reason": reason} if reason else {}
            if state == "finished":
                record |= {"fid": measured(value, **more), "kid": measured(value / 1000, **more)}
            folder = self.store.folder(key)
            folder.samples.mkdir(parents=True, exist_ok=True)
            folder.record.write_text(json.dumps(record))
        return self

    def record(self, key, row, seed):
        provenance = {"commit": "c0ffee", "dirty": False, "versions": {"torch": "2.11"}, "device": "A CPU"}
        floor = {
            "fid": 7.3,
            "kid": 0.0,
            "n": 1000,
            "extractor": CLASSIFIER,
            "reference": "heldout-797-0a0b0c0d",
        }
        sizes = {"images": 32000, "wall_s": 60.0, "parameters": 430000, "seed": seed, "profile": "digits"}
        return {"key": key, "recipe": row.recipe.flat(), **sizes, "provenance": provenance, "floor": floor}

    def pictures(self, index):
        for key in self.experiment.rows[index].keys:
            for nfe in (1, 2):
                grid = Image.linear_gradient("L").resize((274, 274))
                grid.save(self.store.folder(key).samples / f"images_000032000_{nfe}step.png")
            for step in range(1, 20):
                self.store.folder(key).append(step, step * 64, {"loss": 1 / step, "N": 11})

    @property
    def known(self):
        return records(self.experiment, self.store)

    @property
    def frame(self):
        return frame(self.experiment, self.known)

    @property
    def versus(self):
        return verdicts.versus(self.experiment, verdicts.scores(self.frame))

    @property
    def csv(self):
        return pd.read_csv(io.StringIO(csv(self.experiment, self.frame)))

    @property
    def page(self):
        return page(self.experiment, self.frame, self.known, [], self.versus)

    def line(self, label, section=0):
        """The cells of a row in the section's table of results."""
        tables = [t for t in self.page.split("\n\n") if t.startswith("| row ") and "FID" in t]
        rows = [[c.strip() for c in line.strip("|").split(" | ")] for line in tables[section].splitlines()]
        return next(dict(zip(rows[0], row, strict=True)) for row in rows[2:] if row[0] == label)

    def one_step(self, label, section=0):
        return next(v for k, v in self.line(label, section).items() if k.startswith("FID 1 step"))

    def write(self):
        return writer.write(self.experiment, self.store, self.reports)


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
    assert len(made.frame) == 2 * 2 + 2 + 2
    assert list(made.frame.query("row == 'plain' and nfe == 1")["fid"]) == [300.0, 310.0]
    assert set(made.frame["state"]) == {"finished", "diverged", "missing"}


def test_the_best_is_bold(listed):
    made = listed.put(0, 300.0, 310.0).put(1, 200.0, 207.0)
    assert made.one_step("wide") == "**203.5** ± 4.95"
    assert made.one_step("plain") == "305.0 ± 7.07"


def test_what_is_not_told_apart_from_the_best_is_bold_too(listed):
    made = listed.put(0, 300.0, 310.0).put(1, 290.0, 315.0).put(2, 250.0)
    assert made.one_step("wider") == "**250.0**"  # the lowest, from one seed: nothing is told apart from it
    assert made.one_step("plain") == "305.0 ± 7.07"
    made.put(2, 250.0, 400.0)
    assert [made.one_step(label)[:2] for label in ("plain", "wide", "wider")] == ["**", "**", "**"]


def test_a_row_that_lost_a_seed_is_not_the_best(listed):
    made = (
        listed.put(0, 300.0, 310.0)
        .put(1, 1.0, 1.0, state="diverged", reason="not finite at step 7")
        .put(1, 20.0)
    )
    assert made.one_step("wide") == "20.00"
    assert made.line("wide")["n"] == "1 (1 diverged)"
    assert made.one_step("plain").startswith("**305.0**")


def test_diverged_failed_and_missing_are_told(listed):
    made = listed.put(0, 0, 0, state="diverged", reason="the loss is not finite at step 120")
    made.put(1, 0, 0, state="failed", reason="MemoryError: a | b\nc")
    assert made.one_step("plain") == "diverged (step 120)"
    assert made.one_step("wide").startswith("failed[^")
    assert "MemoryError: a | b c" in made.page
    assert made.one_step("wider") == "not run"
    assert list(made.csv["diverged"]) == [2, 0, 0]
    assert list(made.csv["failed"]) == [0, 2, 0]


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"n": 500}, "n=500"),
        ({"extractor": "inception-x"}, "inception-x"),
        ({"weights": "raw"}, "weights=raw"),
    ],
)
def test_unlike_records_never_share_a_column(listed, facts, told):
    made = listed.put(0, 300.0, 310.0).put(1, 200.0, 220.0, **facts)
    names = [c for c in made.csv.columns if c.startswith("fid_1step (")]
    assert "fid_1step" not in made.csv
    assert len(names) == 2
    assert any(told in name for name in names)
    assert made.csv[names].notna().sum(axis=1).tolist() == [1, 1, 0]
    assert sum("FID 1 step" in heading and told in heading for heading in made.line("wide")) == 1


def test_seeds_of_unlike_measurement_are_not_averaged(listed):
    made = listed.put(0, 300.0, 310.0, n=500).put(0, 100.0)
    row = made.csv.filter(regex=r"fid_1step \(").iloc[0]
    assert sorted(row) == [100.0, 310.0]


def test_the_metric_is_named_by_its_extractor(listed):
    heading = columns(listed.put(0, 300.0).frame)[0].heading
    assert heading == f"FID 1 step ({CLASSIFIER}, n=1000)"
    assert heading in listed.page


def test_changes_are_against_the_row_above_in_a_ladder(ladder):
    made = ladder.put(0, 400.0, 400.0).put(1, 100.0, 200.0)
    line = made.line("+ weighting=inverse_gap")
    assert line["change, 1 step"].startswith("-64.6% [")  # sqrt(100 / 400 * 200 / 400) - 1, with its interval
    assert (line["p (Holm)"], line["seeds to decide"]) == ("0.2", "5")
    assert made.line("ct")["change, 1 step"] == "-"


def test_changes_are_over_shared_seeds(ladder):
    made = ladder.put(0, 400.0, 800.0).put(1, 100.0)
    assert made.line("+ weighting=inverse_gap")["change, 1 step"] == "-75.0%"


def test_bases_differ_from_their_rows_in_what_was_changed(ladder):
    rows = ladder.experiment.rows
    flats = [row.recipe.flat() for row in rows]
    whole = groups(rows)[1][0]
    found = bases(rows, flats)
    assert found[:whole] == [None, *range(whole - 1)]
    assert {rows[i].label for i in found[whole + 1 :]} == {"ict"}


def test_only_the_papers_own_recipes_have_published_numbers(ladder):
    assert ladder.line("ct")["paper"].startswith("CT 8.70 / 5.83[^")
    assert ladder.line("ict")["paper"].startswith("iCT 2.83 / 2.46[^")
    others = [
        r.label for r in ladder.experiment.rows if r.section == "ladder" and r.label not in ("ct", "ict")
    ]
    assert {ladder.line(label)["paper"] for label in others} == {"-"}
    assert "instead of 409,600,000" in ladder.page
    assert "metric lpips instead of squared_l2" in ladder.page


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


def test_floor_cost_and_provenance_are_told(listed):
    text = listed.put(0, 300.0, 310.0).page
    assert f"Real against held-out real: FID 7.30 ({CLASSIFIER}, n=1000)." in text
    assert "2 cells took 2 min 00 s of worker time in all" in text
    assert "- Commit: `c0ffee`" in text
    assert "6 cells: 2 finished, 4 not run" in text


def test_mixed_commits_are_said(listed):
    listed.put(0, 300.0, 310.0)
    file = listed.store.folder(listed.experiment.rows[0].keys[0]).record
    file.write_text(file.read_text().replace("c0ffee", "decaf"))
    assert "Mixed commits" in listed.page


def test_equal_cells_cost_once(ladder):
    last = len(groups(ladder.experiment.rows)[0]) - 1
    made = ladder.put(last, 300.0, 310.0)
    assert "2 cells took 2 min 00 s" in made.page
    assert made.one_step("ict", 0) == made.one_step("ict", 1) == "**305.0** ± 7.07"


def test_figures_are_small_pngs_of_every_row(ladder):
    ladder.put(0, 2000.0, 1900.0).put(1, 0, 0, state="diverged", reason="at step 3").put(2, 150.0, 160.0)
    ladder.pictures(0), ladder.pictures(2)
    folder = ladder.write()
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*.png")}
    assert {"fid.png", "curves.png", "samples.png", "samples/ct.png", "samples/teacher-none.png"} <= set(
        found
    )
    for file in found.values():
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size < 500_000
    assert "![FID of every row](fid.png)" in (folder / "table.md").read_text()


def test_a_second_write_redraws_nothing(listed, monkeypatch):
    folder = listed.put(0, 300.0, 310.0).write()
    assert {p.name for p in folder.iterdir()} >= {"table.md", "table.csv", "fid.png"}
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    monkeypatch.setattr(writer, "_draw", lambda *_: pytest.fail("drawn again"))
    listed.write()
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    (folder / "table.md").unlink()
    assert (listed.write() / "table.md").is_file()


def test_a_new_record_is_drawn(listed, monkeypatch):
    listed.write()
    seen = []
    monkeypatch.setattr(writer, "_draw", lambda *_: seen.append(1) or [])
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
        "records.jsonl",
        "table.csv",
        "table.md",
        "table.tex",
    ]


def test_a_thousand_rows_are_shortened_on_the_page_alone(tmp_path):
    values = [round(0.001 * i, 3) for i in range(1, 101)]
    plan = f"\n  - grid: {{metric.c: {values}, noise.p_mean: {[-0.1 * i for i in range(1, 11)]}}}\n"
    made = Made(tmp_path, plan, "[0]")
    for i in range(1000):
        made.put(i, 100.0 + i)
    folder = made.write()
    assert "At most 40 of the 1,000 rows" in (folder / "table.md").read_text()
    assert len((folder / "table.csv").read_text().splitlines()) == 1001


def test_lines_count_states(listed):
    listed.put(0, 300.0).put(1, 0, 0, state="failed", reason="x")
    assert [dict(line.states) for line in lines(listed.experiment, listed.frame)][1] == {"failed": 2}


def test_importing_the_report_is_light():
    heavy = "pandas", "matplotlib", "seaborn", "PIL", "torch"
    code = f"import sys, ablate.report; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_markdown_pieces():
    notes = Footnotes()
    assert [notes("a"), notes("b"), notes("a")] == ["[^1]", "[^2]", "[^1]"]
    assert [number(v) for v in (1234.5, 12.345, 0.0012)] == ["1,234.5", "12.35", "0.0012"]
    assert [duration(s) for s in (42, 200, 18240)] == ["42 s", "3 min 20 s", "5 h 04 min"]
    assert "a \\| b" in table(["x"], [["a | b"]])
