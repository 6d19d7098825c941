"""The report of a running experiment, and what the terminal shows of it."""

from __future__ import annotations

import json
import re
import time
from types import SimpleNamespace

import pytest
from helpers.cli import call
from helpers.instant_cells import Instant

from ablate.execution import runner
from ablate.execution.resources import Resources
from ablate.execution.scheduler import Scheduler
from ablate.planning import planner
from ablate.report import figure
from ablate.tracking.live import Live

FILE = """
name: some
seeds: [3, 0, 1]
plan: [{list: [{label: a}, {label: "b [b]$x_", set: {metric.c: 0.5}}, {label: worse, set: {metric.c: 0.9}}]}]
claims: [{id: order, says: "a is better", better: {row: a}, worse: {row: worse}}]
"""
AFTER = re.compile(r"after (\d) of 3 seeds; the report so far is reports/some/index.html")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with an experiment whose cells end at once, and the executor, whose behaviour a test may change."""
    (tmp_path / "some.yaml").write_text(FILE)
    place = SimpleNamespace(path=tmp_path, executor=Instant(room=2))
    monkeypatch.setattr(runner, "POLL_S", 0.0)
    # neither figures nor MLflow matter here
    monkeypatch.setattr(figure, "draw", lambda results, folder: ([], True, {}))
    monkeypatch.setattr(Live, "_serve", lambda self: None)
    monkeypatch.setattr(Live, "link", lambda self: None)
    monkeypatch.setattr(
        Resources,
        "scheduler",
        lambda self, profile, store, follow, cells: Scheduler(place.executor, store, follow, retries=0),
    )
    return place


@pytest.fixture
def waits(monkeypatch):
    """No report is left out because the one before is still being written."""
    from ablate.cli.interim import Interim

    write = Interim.write
    monkeypatch.setattr(
        Interim, "write", lambda self, seeds, show: (write(self, seeds, show), self.thread.join())
    )


def run(place, *more):
    return call("run", "some.yaml", "--no-doctor", *more, cwd=place.path)


def test_the_first_seed_of_all_rows_comes_before_the_second_of_any(place):
    run(place)
    seeds = [
        json.loads((place.path / "runs" / k / "config.json").read_text())["seed"]
        for k in place.executor.computed
    ]
    assert seeds == [3, 3, 3, 0, 0, 0, 1, 1, 1]


def test_there_is_a_report_after_every_seed_but_the_last(place, waits):
    done = run(place)
    assert done.returncode == 0, done.stderr
    assert AFTER.findall(done.stderr) == ["1", "2"]
    first = done.stderr[: done.stderr.index("after 1 of 3")]
    assert re.search(r"b \[b\]\$x_ +\d", first)
    assert "order: " in first


def test_a_stopped_run_has_a_report_and_the_next_one_shows_it_at_once(place, waits):
    place.executor = Instant(room=1, dies_after=4)
    done = run(place)
    assert done.returncode == 130
    assert AFTER.findall(done.stderr) == ["1"]
    assert (place.path / "reports/some/index.html").is_file()
    assert "worse" in (place.path / "reports/some/table.csv").read_text()
    place.executor = Instant(room=1)
    assert AFTER.findall(run(place).stderr) == ["1", "2"]


def test_a_cell_without_a_result_does_not_hold_up_the_report(place, waits):
    place.executor = Instant(room=1, states={0: "diverged", 1: "failed"})
    assert AFTER.findall(run(place).stderr) == ["1", "2"]


def test_a_report_that_is_ready_after_the_last_cell_is_not_shown_twice(place, monkeypatch):
    from ablate.cli.interim import Interim

    write = Interim._write

    def late(self, seeds, show):
        while not all(self.store.folder(key).recorded for key in self.experiment.cells):
            time.sleep(0.01)
        write(self, seeds, show)

    monkeypatch.setattr(Interim, "_write", late)
    done = run(place)
    assert not AFTER.findall(done.stderr)
    assert done.stdout.count("FID 1 step") == 1


def test_the_end_shows_table_verdicts_and_page(place):
    done = run(place)
    lines = done.stdout.splitlines()
    rows = [line for line in lines if re.match(r" (a|b \[b\]\$x_|worse) ", line)]
    assert len(rows) == 3
    assert all(re.search(r"\d ± \d.* 3$", line) for line in rows), rows
    assert "FID 1 step" in done.stdout
    assert "FID 2 steps" in done.stdout
    assert any(line.startswith("order: ") for line in lines)
    assert lines[-1].endswith("the report is reports/some/index.html")
    assert (place.path / lines[-1].rpartition(" ")[2]).is_file()


def test_json_is_json_alone_and_the_interim_report_is_written_all_the_same(place, waits):
    place.executor = Instant(room=1, dies_after=4)
    done = run(place, "--json")
    assert not AFTER.findall(done.stderr)
    assert (place.path / "reports/some/index.html").is_file()
    place.executor = Instant()
    assert set(json.loads(run(place, "--json").stdout)) == {"report", "states", "computed"}


@pytest.mark.parametrize("width", ["60", "80", "200"])
def test_the_table_fits(place, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    (place.path / "some.yaml").write_text(
        FILE.replace("label: a}", f"label: '{'long ' * 30}'}}").replace("row: a", f"row: '{'long ' * 30}'")
    )
    lines = run(place).stdout.splitlines()
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("order: "))]
    assert max(map(len, table)) <= int(width)


def test_a_report_that_cannot_be_written_ends_no_run(place, waits, monkeypatch):
    from ablate.report import writer

    write, calls = writer.write, []

    def refuse(*given):
        calls.append(given)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return write(*given)

    monkeypatch.setattr(writer, "write", refuse)
    done = run(place)
    assert done.returncode == 0
    assert "warning: no report yet" in done.stderr


def test_whole_seeds(tmp_path):
    (tmp_path / "some.yaml").write_text(FILE)
    experiment = planner.load(tmp_path / "some.yaml")
    by_seed = {seed: [k for k, c in experiment.cells.items() if c.seed == seed] for seed in (3, 0, 1)}
    assert runner.whole_seeds(experiment, []) == 0
    assert runner.whole_seeds(experiment, by_seed[0] + by_seed[1]) == 0
    assert runner.whole_seeds(experiment, by_seed[3] + by_seed[1]) == 1
    assert runner.whole_seeds(experiment, experiment.cells) == 3
