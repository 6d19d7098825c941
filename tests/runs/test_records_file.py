"""Records that travel: a records file rebuilds a report and the runs directory; what was altered is refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from helpers.recorded import decide, put
from typer.testing import CliRunner

from ablate.analysis import sequential
from ablate.cli import app
from ablate.core.errors import SpecError
from ablate.core.files import read_json
from ablate.planning.planner import load
from ablate.report import writer
from ablate.runs import records_file
from ablate.runs.records_file import FILE
from ablate.runs.store import Folder, Store
from ablate.tracking import sources

NOWHERE = Path("/nowhere")
TEXT = """
name: made
seeds: {min: 2, max: 5, until: decided}
plan: [{grid: {metric.c: [0.01, 0.1]}}]
claims: [{id: open, says: s, better: {metric.c: 0.01}, worse: {metric.c: 0.1}}]
"""


class Made:
    """An experiment whose claim stays open, with all its seeds recorded, and its report."""

    def __init__(self, place):
        self.file, self.place, self.store = place / "made.yaml", place, Store(place / "runs")
        self.folder, self.records = place / "reports" / "made", place / "reports" / "made" / FILE
        self.file.write_text(TEXT)
        self.experiment = load(self.file)

    def compute(self):
        values = [20.1, 30.2, 25.3, 24.4, 22.5, 28.6, 27.7, 21.8, 26.9, 20.0]
        decide(self.experiment, self.store, values)
        writer.write(self.experiment, self.store, self.place / "reports")

    def lines(self):
        return [json.loads(line) for line in self.records.read_text().splitlines()]

    def rewrite(self, change):
        """The records file after `change` was done to the parts of its first line."""
        lines = self.lines()
        change(lines[0])
        self.records.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    made = Made(tmp_path_factory.mktemp("original"))
    made.compute()
    return made


@pytest.fixture
def made(original, tmp_path):
    """A copy, for what is changed: its figures cost seconds."""
    shutil.copytree(original.place, tmp_path / "made")
    made = Made(tmp_path / "made")
    made.experiment = original.experiment
    return made


def test_a_line_per_cell_sorted_by_key(made):
    keys = [line["config"]["key"] for line in made.lines()]
    assert keys == sorted(made.experiment.cells)
    assert len(keys) == 10  # the claim stays open to the last seed


def test_what_was_fetched_is_what_was_sent(made, tmp_path):
    there = Store(tmp_path / "there")
    fetched = sources.fetch(str(made.records), there)
    assert (len(fetched.keys), fetched.problems) == (10, [])
    for key in made.experiment.cells:
        ours, theirs = made.store.folder(key), there.folder(key)
        assert read_json(theirs.record) == read_json(ours.record)
        assert read_json(theirs.config) == read_json(ours.config)
    assert not [p for p in there.path.iterdir() if p.name.startswith(".")]


def test_the_report_from_a_records_file_is_the_report_from_disk(made, tmp_path):
    with sources.reading(str(made.folder), load(made.file), NOWHERE) as (place, refused):
        experiment = sequential.recorded(load(made.file), place)
        folder = writer.write(experiment, Store(place), tmp_path / "again")
    assert refused == []
    for name in (
        "table.csv",
        "table.tex",
        FILE,
    ):  # the page has figures too, for which a file of records has no curves
        assert (folder / name).read_bytes() == (made.folder / name).read_bytes(), name


def test_a_narrower_report_keeps_the_other_lines(made):
    before = made.records.read_text()
    writer.write(load(made.file, seeds=[1]), made.store, made.folder.parent)
    assert made.records.read_text() == before


def test_three_hundred_cells_stay_small(made):
    assert made.records.stat().st_size / 10 * 300 < 1_300_000


def test_what_has_a_record_stays_and_what_was_begun_gives_way(made, tmp_path):
    there, (first, second, *_) = Store(tmp_path / "there"), sorted(made.experiment.cells)
    put(there, made.experiment.cells[first], 1.0)
    begun = there.prepare(made.experiment.cells[second])
    begun.save({"step": 3})
    begun.append(3, 48, {"loss": 1.0})
    (begun.samples / "images_000000048_1step.png").write_bytes(b"early")
    before = there.folder(first).record.read_bytes()
    fetched = sources.fetch(str(made.records), there)
    assert fetched.present == {first}
    assert second in fetched.keys
    assert there.folder(first).record.read_bytes() == before
    assert begun.load("cpu") is None  # else numbers and weights of two runs would stand in one folder
    assert (begun.lines(), begun.samples.exists()) == ([], False)
    again = sources.fetch(str(made.records), there)
    assert (again.keys, again.present) == ([], set(made.experiment.cells))


def test_a_cell_that_is_computed_here_is_left_alone(made, tmp_path):
    there, key = Store(tmp_path / "there"), min(made.experiment.cells)
    with there.prepare(made.experiment.cells[key]).lock():
        assert key not in sources.fetch(str(made.records), there).keys
    assert there.record(key) is None


def test_failed_cells_are_listed_and_not_fetched(made, tmp_path):
    cell = made.experiment.cells[min(made.experiment.cells)]
    made.store.folder(cell.key).record.unlink()
    put(made.store, cell, 1.0, "failed")
    made.records.write_text(records_file.text(made.experiment, made.store, made.records))
    assert cell.key not in sources.fetch(str(made.records), Store(tmp_path / "there")).keys
    with sources.reading(str(made.records), load(made.file), NOWHERE) as (place, _):
        assert Store(place).record(cell.key)["state"] == "failed"


def deeper(line):
    line["config"]["specs"]["metric"]["c"] = 0.5


ALTERED = {
    "has the key": deeper,
    "another recipe or seed": lambda line: line["record"].update(seed=7),
    "another recipe": lambda line: line["record"].update(recipe={"metric": "l1"}),
    "record.fid.0.value: 'much'": lambda line: line["record"]["fid"][0].update(value="much"),
    "fid.0.value": lambda line: line["record"]["fid"][0].update(value=None),
    "record.state": lambda line: line["record"].update(state="splendid"),
    "of this version": lambda line: line["config"].update(format=2),
    "did you mean": lambda line: line["config"]["specs"]["metric"].update(name="pseudo_hubert"),
    "extra": lambda line: line["config"]["profile"].update(extra=1),
    "needs the module 'antigravity'": lambda line: line["config"].update(imports=["antigravity"]),
    "has the key ": lambda line: line["config"].update(seed="0"),
    "not a line of a records file": lambda line: line["config"].update(key="../../../tmp/x"),
    "not a line": lambda line: line.pop("record"),
}


@pytest.mark.parametrize("answer", ALTERED)
def test_what_was_altered_is_refused_with_one_line(answer, made, tmp_path):
    made.rewrite(ALTERED[answer])
    fetched = sources.fetch(str(made.records), Store(tmp_path / "there"))
    (problem,) = fetched.problems
    assert answer.strip() in problem
    assert "\n" not in problem
    assert len(fetched.keys) == 9
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "line", ["{", "[]", "null", '{"config": 1}', "[" * 20000, '{"config": {}, "record": {}}']
)
def test_a_line_that_is_none_is_named_by_its_place(line, made, tmp_path):
    made.records.write_text(f"{line}\n\n" + made.records.read_text())
    fetched = sources.fetch(str(made.records), Store(tmp_path / "there"))
    assert fetched.problems == [f"{made.records}:1: not a line of a records file"]
    assert len(fetched.keys) == 10


def test_a_source_without_the_experiment_writes_no_report(made, tmp_path):
    (tmp_path / FILE).write_text("")
    with (
        pytest.raises(SpecError, match="it has no cell of made"),
        sources.reading(str(tmp_path), load(made.file), NOWHERE),
    ):
        raise AssertionError
    with pytest.raises(SpecError, match="no such file"):
        sources.fetch(str(tmp_path / "nowhere.jsonl"), Store(tmp_path / "there"))


def test_a_lost_config_is_written_as_it_was(made):
    made.store.folder(min(made.experiment.cells)).config.unlink()
    assert records_file.text(made.experiment, made.store, Path("none")) == made.records.read_text()


def ablate(place, *arguments):
    return CliRunner().invoke(app, [*map(str, arguments), "--runs-dir", str(place / "runs")])


def test_the_commands(made, tmp_path):
    clone = tmp_path / "clone"
    done = ablate(clone, "report", made.file, "--from", made.folder, "--reports-dir", clone / "reports")
    assert (done.exit_code, done.stderr) == (0, "")
    assert (clone / "reports/made/table.csv").read_bytes() == (made.folder / "table.csv").read_bytes()
    assert not (clone / "runs").exists()
    done = ablate(clone, "fetch", clone / "reports/made", made.file, "--seeds", "0")
    assert (done.exit_code, done.stdout) == (0, "2 cells fetched, 0 were here already\n")
    done = ablate(clone, "fetch", clone / "reports/made")
    assert (done.exit_code, done.stdout) == (0, "8 cells fetched, 2 were here already\n")
    assert ablate(clone, "status", made.file, "--once").stdout.split()[-2:] == ["10", "finished"]
    made.rewrite(deeper)
    done = ablate(tmp_path / "elsewhere", "fetch", made.records, "--json")
    assert (done.exit_code, len(json.loads(done.stdout)["fetched"])) == (1, 9)
    assert done.stderr.count("\n") == 1


def test_a_cell_lies_in_place_whole_or_not_at_all(made, tmp_path, monkeypatch):
    there = Store(tmp_path / "there")

    def torn(folder, key):
        raise KeyboardInterrupt

    monkeypatch.setattr(records_file, "check", torn)
    with pytest.raises(KeyboardInterrupt):
        sources.fetch(str(made.records), there)
    assert there.keys() == []
    assert not list(there.path.iterdir())
    assert not Folder(there.path / min(made.experiment.cells)).path.exists()


def test_no_folder_of_this_machine_travels():
    answer = records_file._portable({"name": "zip", "path": "/home/me/a.zip", "test_path": None})
    assert answer == {"name": "zip", "path": "a.zip", "test_path": None}
