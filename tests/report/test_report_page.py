"""The page in one file, the LaTeX tables, claims and their summary, from synthetic records."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess

import pytest
from helpers.cli import call
from helpers.made import LADDER, Made
from PIL import Image

from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.report import figure
from ablate.report.figures.sweeps import Sweeps
from ablate.report.html import _kept, html, render
from ablate.report.latex import escape, latex
from ablate.report.summary import summary
from ablate.tracking.names import accepted

CLAIMS = """
claims:
  - {id: P4, says: "no teacher & no_EMA <b>", better: {row: ict}, worse: {row: ct}}
"""


def fill(folder):
    found = Made(folder, LADDER + CLAIMS, seeds="[0, 1, 2]")
    for i in range(len(found.experiment.rows)):
        found.put(i, 1000.0 / (i + 1), 1010.0 / (i + 1), 1003.0 / (i + 1))
    return found


@pytest.fixture
def made(tmp_path):
    return fill(tmp_path)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The folder of one whole report: pictures of most rows, at two times of training, and a row that diverged."""
    found = fill(tmp_path_factory.mktemp("whole"))
    for i, row in enumerate(found.experiment.rows):
        if i != 1:
            found.pictures(i)
            for seen in (100, 200):
                samples = found.store.folder(row.keys[0]).samples
                Image.new("RGB", (8, 8), "red").save(samples / f"images_{seen:09d}_1step.png")
    found.put(1, 0, 0, 0, state="diverged", reason="at step 3")
    return found.write()


def test_the_page_holds_all_and_needs_no_network(report):
    page = (report / "index.html").read_text()
    assert not re.search(r"(src|href)=[\"'](https?:)?//", page.replace('href="https://arxiv', ""))
    assert "data:image/png;base64," in page
    assert "no teacher &amp; no_EMA &lt;b&gt;" in page
    assert "supported" in page
    assert len(page) < 3_000_000
    assert page.count("<h1") == 1
    assert 'lang="en"' in page
    assert all('alt="' in tag for tag in re.findall(r"<img[^>]*>", page))


def test_figures_are_small_pngs_of_every_row(report):
    files = {p.relative_to(report).as_posix(): p for p in report.rglob("*.png")}
    assert {"fid.png", "curves.png", "samples.png", "samples/ct.png", "samples/teacher-none.png"} <= set(
        files
    )
    for file in files.values():
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size < 500_000
    page = (report / "table.md").read_text()
    for shown in figure.figures():
        assert (f"![{shown.TITLE}]({shown.FILE})" in page) == (shown.FILE in files)
    assert "samples/ct.png" not in page


def test_text_of_a_file_is_no_html(tmp_path):
    body, sections = render("# a <script>alert(1)</script>\n\n## b <i>\n\n| x |\n|---|\n| <b> |\n", tmp_path)
    assert "<script>" not in body
    assert "<b>" not in body
    assert [text for _, text in sections] == ["b <i>"]


def test_pictures_over_training_have_a_slider(report):
    page = (report / "index.html").read_text()
    assert "Samples over training" in page
    assert '"times": [100, 200, 32000]' in page
    found = _kept(report / "index.html")
    assert found[0] == [100, 200, 32000]
    assert [len(row.frames) for row in found[1]] == [3] * len(found[1])


def test_without_them_there_is_none(made, tmp_path):
    assert 'id="time"' not in html(made.results, "# made\n", tmp_path)


@pytest.mark.parametrize("state", ["diverged", "failed"])
def test_a_table_of_nothing_but_losses_is_a_page(tmp_path, state):
    found = Made(tmp_path, LADDER + CLAIMS)
    for i in range(len(found.experiment.rows)):
        found.put(i, 1.0, 1.0, state=state, reason="loss is nan at step 3")
    folder = found.write()
    assert state in (folder / "index.html").read_text()
    assert state in (folder / "table.tex").read_text()


def test_latex_is_booktabs_with_the_best_in_bold(made):
    text = latex(made.results)
    assert text.count("\\toprule") == text.count("\\begin{tabular}") == 2
    assert "\\mathbf{" in text
    assert "weighting=inverse\\_gap" in text
    assert escape("50% of a_b & {c}") == r"50\% of a\_b \& \{c\}"


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_compiles(made, tmp_path):
    table = tmp_path / "table.tex"
    table.write_text(latex(made.results))
    whole = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{%s}\\end{document}"
    (tmp_path / "all.tex").write_text(whole % table)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_check_claims_shows_in_the_exit_code(made, tmp_path, monkeypatch):
    monkeypatch.setattr(figure, "figures", list)  # drawing is tested elsewhere, and slow
    done = call("report", "made.yaml", "--check-claims", cwd=tmp_path)
    assert (done.returncode, done.stdout.split(":")[:2]) == (0, ["P4", " supported"]), done.stderr
    for key in made.experiment.rows[0].keys:
        made.store.folder(key).record.unlink()
    (tmp_path / "reports/made/records.jsonl").unlink()  # else the report still has them
    done = call("report", "made.yaml", "--check-claims", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["claims"][0]["state"] == "not run"


def test_a_report_of_the_rows_that_claims_compare(tmp_path, monkeypatch):
    monkeypatch.setattr(figure, "figures", list)
    made = Made(tmp_path, LADDER + CLAIMS)
    for i in range(len(made.experiment.rows)):
        made.put(i, 100.0 + i, 110.0 + i)
    done = call("report", "made.yaml", "--claims-only", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("note: --claims-only: 14 of 16 rows are left out\n")
    with open(tmp_path / "reports/made/table.csv") as table:
        assert {line["row"] for line in csv.DictReader(table)} == {"ct", "ict"}


def test_sweeps_are_drawn_from_four_values_on(tmp_path):
    made, path = Made(tmp_path, "\n  - grid: {metric.c: [0.001, 0.01, 0.1, 1.0]}\n"), tmp_path / "sweeps.png"
    for i in range(3):
        made.put(i, 100.0 * (i + 1), 110.0 * (i + 1))
    assert not Sweeps().draw(made.results, path)
    assert not path.exists()
    assert Sweeps().draw(made.put(3, 400.0, 410.0).results, path)
    with Image.open(path) as image:
        assert image.width > 300


def test_a_summary_has_a_row_per_claim_and_a_column_per_profile(made, tmp_path):
    (tmp_path / "none.yaml").write_text("name: none\nplan: [{grid: {teacher: [none]}}]\n")
    page = summary([tmp_path / "made.yaml", tmp_path / "none.yaml"], tmp_path / "runs", tmp_path / "reports")
    (line,) = [
        line for line in page.read_text().splitlines() if line.startswith("| P4") and "digits " not in line
    ]
    assert "supported (3 seeds)" in line
    assert "Of 1 claim, 1 is supported on at least one profile." in page.read_text()
    assert 'class="wide"' not in (page.with_suffix(".html")).read_text().split("<script>")[0]
    with pytest.raises(SpecError, match="no claims in"):
        summary([tmp_path / "none.yaml"], tmp_path / "runs", tmp_path / "reports")
    with pytest.raises(SpecError, match="no records"):
        summary([tmp_path / "made.yaml"], tmp_path / "nothing", tmp_path / "reports")


def test_of_a_claim_in_two_files_the_answer_from_more_seeds_is_shown(made, tmp_path, monkeypatch):
    named = yaml_files.named
    own = {"profiles": {"digits": named("profiles")["digits"]}}  # other profiles have no records
    monkeypatch.setattr(yaml_files, "named", lambda kind: own.get(kind) or named(kind))
    text = (
        (tmp_path / "made.yaml").read_text().replace("[0, 1, 2]", "[0, 1]").replace("name: made", "name: two")
    )
    for name in ("a.yaml", "z.yaml"):  # before it and after it
        (tmp_path / name).write_text(text)
        page = summary(
            [*sorted([tmp_path / "made.yaml", tmp_path / name])], tmp_path / "runs", tmp_path / "out"
        )
        assert "supported (3 seeds)" in page.read_text()
        assert "(2 seeds)" not in page.read_text()


def test_a_summary_shows_the_seeds_of_a_files_own_report(made, tmp_path):
    """Of none of another file, whose seeds are perhaps fresh ones for the same rows."""
    made.write()
    shutil.rmtree(tmp_path / "runs")
    shutil.copytree(tmp_path / "reports/made", tmp_path / "other/theirs")
    for place, n in (("reports", 3), ("other", 1)):
        page = summary([tmp_path / "made.yaml"], tmp_path / "runs", tmp_path / place, seeds=[0])
        assert f"({n} seed" in page.read_text()


def test_metrics_have_names_that_mlflow_accepts(made):
    found = made.results.metrics()
    assert found["fid_1step_mean/ct"] == pytest.approx((1000 + 1010 + 1003) / 3)
    assert found["fid_2step_std/+ weighting=inverse_gap"] > 0
    assert not any(re.search(r"[^\w.: /-]", name) for name in accepted(found).values())


def test_a_footnote_has_one_number_wherever_it_is_named(tmp_path):
    body, _ = render("a[^x] b[^y] c[^x]\n\n[^x]: one\n[^y]: two\n", tmp_path)
    assert re.findall(r">\[(.*?)\]</a>", body) == ["1", "2", "1"]
