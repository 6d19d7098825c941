"""`--stop-after`: what the time allows is computed and reported, here or elsewhere continued, and nothing twice."""

from __future__ import annotations

import json
import shutil
import time
from types import SimpleNamespace

import pytest
from helpers.cli import call
from helpers.instant_cells import Instant

from ablate.execution import runner, scheduler
from ablate.execution.resources import Resources
from ablate.report import figure
from ablate.tracking.live import Live

FILE = """
name: some
seeds: [0, 1]
plan: [{list: [{label: a}, {label: b, set: {metric.c: 0.5}}, {label: c, set: {metric.c: 0.9}}]}]
claims: [{id: order, says: "a is better", better: {row: a}, worse: {row: c}}]
"""
REPORT = "reports/some/records.jsonl"


class Timed(Instant):
    """Cells of a third of an hour each, by a clock that only they move."""

    def __init__(self, clock, **more):
        super().__init__(**more)
        self.clock = clock

    def _advance(self, path):
        self.clock.hours += 1 / 3
        super()._advance(path)


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(hours=0.0, executors=[])
    now = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * clock.hours, time=time.time)
    monkeypatch.setattr(scheduler, "time", now)
    monkeypatch.setattr(runner, "POLL_S", 0.0)
    monkeypatch.setattr(figure, "figures", lambda: [])
    monkeypatch.setattr(Live, "_serve", lambda self: None)
    monkeypatch.setattr(Live, "link", lambda self: None)

    def made(self, profile, store, follow, cells):
        executor = Timed(clock, room=self.workers or 1)
        clock.executors.append(executor)
        return scheduler.Scheduler(executor, store, follow, until=self.until)

    monkeypatch.setattr(Resources, "scheduler", made)
    return clock


def run(place, clock, *more):
    """The answer of `run --json`, and its exit code; the clock starts anew."""
    clock.hours = 0.0
    done = call("run", "some.yaml", "--no-doctor", "--json", *more, cwd=place)
    return json.loads(done.stdout), done.returncode


def test_it_stops_in_time_with_a_report_and_the_next_command_continues(tmp_path, clock):
    (tmp_path / "some.yaml").write_text(FILE)
    first, code = run(tmp_path, clock, "--stop-after", "1.1")
    assert (code, len(first["computed"])) == (1, 4)  # the fourth began before the time was over
    assert sorted(first["states"].values()) == [*4 * ["finished"], *2 * ["interrupted"]]
    assert len((tmp_path / REPORT).read_text().splitlines()) == 4
    second, code = run(tmp_path, clock)
    assert (code, len(second["computed"])) == (0, 2)
    assert not {*first["computed"]} & {*second["computed"]}


def test_records_are_continued_elsewhere(tmp_path, clock):
    """Three short times on machines that start with nothing but the records of the one before."""
    computed, records = [], None
    for turn in range(3):
        place = tmp_path / f"machine{turn}"
        place.mkdir()
        (place / "some.yaml").write_text(FILE)
        if records:
            shutil.copytree(records, place / "brought")
            done = call("fetch", "brought", "some.yaml", cwd=place)
            assert done.returncode == 0, done.stderr
        answer, _ = run(place, clock, "--stop-after", "0.5")
        computed.append(answer["computed"])
        records = place / "reports/some"
    assert [len(keys) for keys in computed] == [2, 2, 2]
    assert len({key for keys in computed for key in keys}) == 6
    table = (records / "table.csv").read_text()
    assert [line.split(",")[:2] for line in table.splitlines()[1:]] == [["a", "2"], ["b", "2"], ["c", "2"]]


def test_rows_come_in_the_order_of_the_file_and_the_first_seed_of_all_before_the_second(tmp_path, clock):
    (tmp_path / "some.yaml").write_text(FILE)
    seen = []
    for _ in range(3):
        answer, _ = run(tmp_path, clock, "--stop-after", "0.5")
        configs = [
            json.loads((tmp_path / "runs" / k / "config.json").read_text()) for k in answer["computed"]
        ]
        seen += [(c["seed"], c["specs"]["metric"].get("c")) for c in configs]
    assert [seed for seed, _ in seen] == [0, 0, 0, 1, 1, 1]
    assert seen[0][1] == seen[3][1] != 0.5 == seen[1][1] == seen[4][1]


@pytest.mark.parametrize("hours", ["-1", "nan", "soon"])
def test_what_is_no_time_is_refused(tmp_path, clock, hours):
    (tmp_path / "some.yaml").write_text(FILE)
    done = call("run", "some.yaml", "--stop-after", hours, cwd=tmp_path)
    assert done.returncode == 2
    assert "--stop-after" in done.stderr
    assert not clock.executors


def test_a_person_reads_one_line_for_all_that_is_left(tmp_path, clock):
    (tmp_path / "some.yaml").write_text(FILE)
    clock.hours = 0.0
    done = call("run", "some.yaml", "--no-doctor", "--stop-after", "0.5", cwd=tmp_path)
    assert "4 of 6 cells are left: time is up; the same command continues" in done.stdout
    assert done.stdout.count("time is up") == 1


@pytest.mark.slow
def test_a_worker_saves_and_the_next_one_resumes_from_there(tmp_path, warmed):
    place = warmed(tmp_path)
    (place / "one.yaml").write_text("name: one\nplan: [{list: [{label: a}]}]\n")
    small = ["--set", "profile.images=6400", "--set", "profile.evaluation.samples=64", "--no-doctor"]
    first = call("run", "one.yaml", *small, "--stop-after", "0.003", cwd=place)
    assert (first.returncode, "1 of 1 cells are left" in first.stdout) == (1, True), first.stderr
    (folder,) = (place / "runs").glob("?" * 12)
    assert list(folder.glob("*.pt*"))
    second = call("run", "one.yaml", *small, cwd=place)
    assert second.returncode == 0, second.stderr
    assert "resumes from step" in (folder / "log.txt").read_text()
