"""A report's folder is of one file, profile and `--set`: neither another report nor fewer results replace it."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from pathlib import Path

import pytest
from helpers.cli import call
from helpers.recorded import put

from ablate.core.errors import SpecError
from ablate.planning.planner import load
from ablate.report import place, writer
from ablate.report.beside import beside
from ablate.report.summary import summary
from ablate.runs.store import Store
from ablate.study import search as studies

ROOT = Path(__file__).parents[2]
TEXT = "name: one\nseeds: [0, 1]\nplan: [{list: [{label: a}, {label: b, set: {metric.c: 0.1}}]}]\n"
pytestmark = pytest.mark.usefixtures("two_figures")
STUDY = "name: one\nsearch: {metric.c: [0.01, 0.1]}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory, two_figures):
    """A folder with an experiment whose cells are recorded and whose report is written."""
    folder = tmp_path_factory.mktemp("made")
    with contextlib.chdir(folder):
        Path("one.yaml").write_text(TEXT)
        written()
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of that folder, of which a test may change everything."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(file="one.yaml", cells=None, state="finished", **more):
    """Record cells (all of them by default) and write the report."""
    experiment, store = load(file, **more), Store("runs")
    for i, cell in enumerate(list(experiment.cells.values())[:cells]):
        if not store.record(cell.key):
            put(store, cell, 100.0 + i, state)
    return writer.write(experiment, store, Path("reports"))


def found(file="one.yaml", **more):
    return place.find(load(file, **more), Path("reports"))


def table(folder="reports/one"):
    return (Path(folder) / "table.csv").read_text()


@pytest.mark.parametrize("text", [TEXT.replace("label: b", "label: c"), TEXT + "summary: mine\n", STUDY])
@pytest.mark.parametrize("command", ["run", "run --dry-run"])
def test_another_file_of_the_name_is_refused_before_training(here, text, command):
    Path("two.yaml").write_text(text)
    words = (command.replace("run", "study", 1) if "search" in text else command).split()
    before = table()
    done = call(words[0], "two.yaml", *words[1:], "--runs-dir", "other", "--no-doctor", cwd=here)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "two.yaml: name: 'one': reports/one holds the report of one.yaml: choose another name" in line
    assert not list(here.glob("other/*/config.json"))
    assert table() == before


def test_an_experiment_does_not_take_the_folder_of_a_study(here):
    Path("study.yaml").write_text(STUDY.replace("one", "two"))
    place.claim(studies.load("study.yaml").experiment, Path("reports"))
    Path("two.yaml").write_text(TEXT.replace("one", "two"))
    with pytest.raises(SpecError, match=r"reports/two holds the report of study\.yaml"):
        found("two.yaml")


@pytest.mark.parametrize(
    "chosen",
    [
        {"overrides": {"metric.c": 0.2}},
        {"overrides": {"profile.images": 640}},
        {"overrides": {"profile.images": 640, "optimizer.lr": 0.001}},
        {"profile": "mine.yaml"},
        {"profile": "mine.yaml", "overrides": {"profile.batch": 32}},
    ],
)
def test_another_profile_or_set_has_a_folder_of_its_own(here, chosen):
    shipped = (ROOT / "experiments/profiles/digits.yaml").read_text()
    Path("mine.yaml").write_text(shipped.replace("name: digits", "name: mine", 1).replace("11200", "3200"))
    before, own = table(), found(**chosen)
    assert own.folder != Path("reports/one")
    assert own.folder.is_relative_to("reports/mine" if "profile" in chosen else "reports")
    assert written(**chosen) == found(**chosen).folder == own.folder
    assert found().folder == Path("reports/one")
    assert table() == before


def test_seeds_and_other_trials_change_no_folder(here):
    assert found(seeds=[5]).folder == Path("reports/one")
    Path("s.yaml").write_text("name: s\nsearch: {metric.c: [0.01, 0.1]}\n")
    folders = [
        place.claim(studies.load("s.yaml", None, own).experiment, Path("reports"))
        for own in ({}, {"trials": 2}, {"sampler": "RandomSampler"})
    ]
    assert folders == [Path("reports/s")] * 3


def test_a_file_may_move_be_renamed_or_be_copied_unchanged(here):
    shutil.copy("one.yaml", "copy.yaml")
    assert found("copy.yaml").folder == Path("reports/one")
    Path("one.yaml").rename("first.yaml")
    assert found("first.yaml").folder == Path("reports/one")
    Path("first.yaml").write_text(TEXT.replace("one", "none"))
    assert found("copy.yaml").folder == Path("reports/one")
    Path("copy.yaml").write_text(TEXT.replace("0.1", "0.7").replace("a}", "a, set: {metric.c: 0.8}}"))
    with pytest.raises(SpecError, match=r"holds the report of one\.yaml"):  # nothing says that it is the same
        found("copy.yaml")


def test_a_report_of_an_older_version_is_taken_by_the_file_that_made_it(here):
    Path("reports/one/of.json").unlink()
    assert found(overrides={"profile.images": 640}).folder != Path("reports/one")
    assert found().folder == Path("reports/one")


def test_the_commands_of_the_readme_find_the_committed_reports(monkeypatch):
    monkeypatch.chdir(ROOT)
    for of in (ROOT / "reports").rglob(place.OF):
        known = json.loads(of.read_text())
        file = (of.parent / known["file"]).resolve()
        assert file.parent == ROOT / "experiments"
        assert file.stem == of.parent.name
    for name in ("table1", "replay_script", "dropout"):
        experiment = load(f"experiments/{name}.yaml")
        assert place.find(experiment, Path("reports")).folder == Path("reports") / name
    assert {p.parent for p in (ROOT / "reports").rglob("table.csv")} >= {
        p.parent for p in (ROOT / "reports").rglob(place.OF)
    }


@pytest.mark.parametrize("fewer", ["seed", "runs lost", "row left out", "failed"])
def test_results_are_never_replaced_by_fewer(here, fewer, capsys):
    before, experiment = table(), load("one.yaml")
    if fewer == "runs lost":
        shutil.rmtree("runs")
        written(cells=1)
    elif fewer == "seed":
        written(seeds=[0])
    elif fewer == "row left out":
        writer.write(experiment.only(experiment.rows[:1]), Store("runs"), Path("reports"))
    else:  # the file was edited, and what is new fails
        Path("one.yaml").write_text(TEXT.replace("plan:", "set: {metric.c: 0.3}\nplan:"))
        written(state="failed")
    assert table() == before
    said = capsys.readouterr().err
    merged = fewer in ("seed", "runs lost")  # the report's own records have the rest
    assert ("reports/one is kept: it has" in said, "--reports-dir" in said) == (not merged, not merged)


@pytest.mark.parametrize(
    ("seeds", "lost", "shown"),
    [([2], False, "0 1 2"), ([2], True, "0 1 2"), ([3, 1], True, "0 1 3"), ([0], True, "0 1")],
)
def test_a_report_grows_by_further_seeds(here, seeds, lost, shown):
    """Also without the runs that it was made from: a fetched report, continued on another machine."""
    if lost:
        shutil.rmtree("runs")
    before = {tuple(line.split(",")[:2]) for line in table().splitlines()[1:]}
    assert before == {("a", "2"), ("b", "2")}
    written(seeds=seeds)
    lines = list(csv.DictReader(table().splitlines()))
    assert [(line["n"], line["seeds"]) for line in lines] == [(str(len(shown.split())), shown)] * 2
    assert len(Path("reports/one/records.jsonl").read_text().splitlines()) == 2 * len(shown.split())
    again = table()
    written(seeds=seeds)
    assert table() == again


def test_rows_with_more_seeds_than_others_keep_them(here):
    text = Path("reports/one/records.jsonl").read_text()
    written(seeds=[4], cells=1)  # of row a alone
    assert [line["seeds"] for line in csv.DictReader(table().splitlines())] == ["0 1 4", "0 1"]
    assert "2 (1 not run)" in Path("reports/one/table.md").read_text()
    assert set(text.splitlines()) < set(Path("reports/one/records.jsonl").read_text().splitlines())


def test_a_report_from_records_keeps_the_pictures_that_records_do_not_have(here):
    folder = Path("reports/one")
    shutil.rmtree("runs")
    had = {path.name for path in folder.glob("*.png")}
    assert {"samples.png", "curves.png"} <= had
    (folder / writer.MARK).unlink()  # as in a clone
    written(cells=0)
    page = (folder / "table.md").read_text()
    assert {path.name for path in folder.glob("*.png")} == had
    assert all(f"]({name})" in page for name in had)
    assert page.count("Drawn when these cells were computed") == 2
    Path("one.yaml").write_text(TEXT.replace("label: b", "label: c"))  # their labels would be wrong now
    written(cells=0)
    assert "curves.png" not in (folder / "table.md").read_text()


def test_a_complete_table_of_an_edited_file_replaces_the_old_one(here):
    Path("one.yaml").write_text(TEXT.replace("label: b", "label: renamed").replace("0.1", "0.4"))
    written()
    assert "renamed" in table()
    Path("one.yaml").write_text("name: one\nseeds: [0, 1]\nplan: [{list: [{label: a}]}]\n")
    written()
    assert "renamed" not in table()
    written(seeds=[0, 1, 2])
    assert table().splitlines()[1].startswith("a,3,")


def test_a_study_of_fewer_trials_keeps_the_report(here, capsys):
    from ablate.study import result

    Path("s.yaml").write_text("name: s\nsearch: {metric.c: [0.01, 0.1]}\n")
    plan = studies.load("s.yaml")
    folder = place.claim(plan.experiment, Path("reports"))
    (folder / "table.csv").write_text("trial,state\n0,complete\n1,complete\n")
    study = studies.open_study(plan, Path("runs").resolve())
    result.write(plan, study, Path("reports"))
    assert "2 trials, this study 0" in capsys.readouterr().err
    assert (folder / "table.csv").read_text().count("complete") == 2


def test_a_summary_reads_records_files_and_keeps_columns_whose_images_are_gone(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    shutil.copytree(ROOT / "reports/table1", tmp_path / "reports/table1")
    monkeypatch.setenv("HOME", str(tmp_path))  # where CIFAR-10 would be
    shutil.copytree(ROOT / "reports/cifar10-8px/table1", tmp_path / "reports/x/table1")
    page = summary([Path("experiments/table1.yaml")], tmp_path / "runs", tmp_path / "reports").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith("| P10") and "all together" in line]
    assert [cell.strip() for cell in line.split("|")[3:5]] == ["supported (3 seeds)"] * 2
    assert "cifar10-8px" in page


def test_numbers_are_shown_beside_those_of_another_report_with_the_reasons(here):
    experiment, store = load("one.yaml"), Store("runs")
    shutil.copytree("reports/one", "theirs")
    from ablate.analysis.results import Results

    assert "All numbers of 4 cells are the same." in beside(Results(experiment, store), Path("theirs"))
    text = Path("theirs/records.jsonl").read_text()
    Path("theirs/records.jsonl").write_text(
        text.replace("classifier-1a2b3c4d", "classifier-00000000")
        .replace("A CPU", "B")
        .replace("2.11", "2.10")
    )
    said = beside(Results(experiment, store), Path("theirs"))
    assert "classifier-1a2b3c4d here, classifier-00000000 there" in said
    assert "torch 2.11 here, torch 2.10 there" in said
    assert "A CPU here, B there" in said
    with pytest.raises(SpecError, match="--beside nothing"):
        beside(Results(experiment, store), Path("nothing"))


@pytest.mark.parametrize(("without", "left"), [([], 2), (["b"], 1), (["a", "b"], 2)])
def test_captions_say_which_rows_are_shown(here, without, left):
    """Also once files of cells are gone: a figure is drawn of the rows that are left, or kept if there are none."""
    Path("one.yaml").write_text(TEXT.replace("{label: b", "{label: c, set: {metric.c: 0.9}}, {label: b"))
    written(cells=0)
    experiment, store = load("one.yaml"), Store("runs")
    for key in [key for row in experiment.rows if row.label in without for key in row.keys]:
        store.folder(key).metrics.unlink(missing_ok=True)
    written(cells=0)
    caption, drawn_before = caption_of("curves.png"), " Drawn when these cells were computed."
    others = "; of the others, there were no files" if left == 1 else ""
    assert f"{left} of the 3 rows are shown; not run: c{others}." in caption
    assert caption.endswith(drawn_before) == (len(without) == 2)
    shutil.rmtree("runs")
    written(cells=0)
    assert caption_of("curves.png") == caption.removesuffix(drawn_before) + drawn_before


def caption_of(figure):
    lines = Path("reports/one/table.md").read_text().splitlines()
    return next((lines[i + 2] for i, line in enumerate(lines) if f"]({figure})" in line), None)
