"""Tuned rows when the time is over: in the trials, between them and the tuned rows, or in these."""

from __future__ import annotations

import csv
import math
import random
import time
from types import SimpleNamespace

import pytest
from helpers.cli import call
from helpers.instant_cells import Instant

from ablate.analysis import sequential
from ablate.cost import estimate
from ablate.execution import scheduler
from ablate.execution.resources import Resources
from ablate.planning import planner, trials
from ablate.study.trials import Trials
from ablate.tracking.live import Live

pytestmark = pytest.mark.usefixtures("two_figures")

TRIALS, ROWS = 16, 12  # cells of the trials and, afterwards, of the rows
FILE = """
name: made
seeds: [0, 1, 2]
plan: [{list: [{label: huber}, {label: square, set: {metric: squared_l2}}]}]
tune: {search: {optimizer.lr: {low: 0.0001, high: 0.1, log: true}}, trials: 8, seeds: [100]}
claims: [{id: T, says: "tuned", better: {row: huber}, worse: {row: square}, tuned: true}]
"""


def fid(recipe, share=1.0):
    """Each metric has a best rate of its own; the seed decides the noise."""
    rate = {"pseudo_huber": 0.03, "squared_l2": 0.0004}[recipe["metric"]]
    draw = random.Random(repr(sorted(map(str, recipe.items())))).gauss(0, 0.02)
    return 10 * math.exp(0.15 * math.log(recipe["optimizer.lr"] / rate) ** 2 + draw)


class Timed(Instant):
    """Cells of an hour each, by a clock that only they move."""

    def __init__(self, clock, **more):
        super().__init__(fid=fid, **more)
        self.clock = clock

    def _advance(self, path):
        self.clock.hours += 1
        super()._advance(path)


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(hours=0.0)
    now = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * clock.hours, time=time.time)
    monkeypatch.setattr(scheduler, "time", now)
    monkeypatch.setattr(sequential, "time", now)
    monkeypatch.setattr(Live, "_serve", lambda self: None)
    monkeypatch.setattr(Live, "link", lambda self: None)

    def made(self, profile, store, follow, cells):
        return scheduler.Scheduler(Timed(clock, room=self.workers or 1), store, follow, until=self.until)

    monkeypatch.setattr(Resources, "scheduler", made)
    return clock


@pytest.fixture
def counted(monkeypatch):
    """An estimate of an hour a cell."""
    monkeypatch.setattr("ablate.cli.costs._timed", lambda groups, *_: [estimate.Timing(1, 1)] * len(groups))
    monkeypatch.setattr(estimate, "hours", lambda groups, *_: sum(g.missing for g in groups))


def run(place, clock, *more):
    """`run` with the clock at zero: its end, and how many cells are recorded then."""
    clock.hours = 0.0
    done = call("run", "made.yaml", "--no-doctor", *more, cwd=place)
    return done, len([*(place / "runs").glob("*/record.json")])


def table(place):
    return (place / "reports" / "made" / "table.csv").read_bytes()


@pytest.mark.parametrize(("hours", "workers"), [(5, 1), (TRIALS, 2), (TRIALS + 7, 1)])
def test_a_second_command_ends_as_one_without_a_stop(tmp_path, clock, hours, workers):
    (tmp_path / "made.yaml").write_text(FILE)
    at_once = ("--workers", workers)
    stopped, first = run(tmp_path, clock, *at_once, "--stop-after", hours - 0.5)
    assert stopped.returncode == 1
    assert hours <= first <= hours + workers
    assert "time is up; the same command continues" in stopped.stdout + stopped.stderr
    rows = [*csv.DictReader(table(tmp_path).decode().splitlines())]
    complete = [found for found in _found(tmp_path) if found.complete]
    assert sum("(tuned)" in row["row"] for row in rows) == len(complete)
    text = (tmp_path / "reports" / "made" / "table.md").read_text()
    assert (" of 8 trials" in text) == (len(complete) < 2)
    assert all(len(found.ended) == 8 for found in complete)
    again, second = run(tmp_path, clock, *at_once)
    assert (again.returncode, second) == (0, TRIALS + ROWS)
    assert table(tmp_path) == _whole(tmp_path / "whole", clock)


def test_a_trial_that_ended_is_known_before_another_begins(tmp_path, clock, monkeypatch):
    """Whatever kills the command in between, `report` and `status` count it."""
    (tmp_path / "made.yaml").write_text(FILE)
    seen, end = [], Trials._end

    def watched(self, *args):
        end(self, *args)
        seen.append(sum(len(found.ended) for found in _found(tmp_path)))

    monkeypatch.setattr(Trials, "_end", watched)
    assert run(tmp_path, clock)[0].returncode == 0
    assert seen == [*range(1, TRIALS + 1)]


WHOLE = list[bytes]()


def _whole(place, clock):
    """The table of a run without a stop, by two workers."""
    if not WHOLE:
        place.mkdir()
        (place / "made.yaml").write_text(FILE)
        assert run(place, clock, "--workers", 2)[1] == TRIALS + ROWS
        WHOLE.append(table(place))
    return WHOLE[0]


def _found(place):
    experiment = sequential.recorded(planner.load(place / "made.yaml"), place / "runs")
    return experiment.tuning.found.values()


def test_with_several_stops_and_more_trials_than_are_drawn_at_random(tmp_path, clock):
    """From the eleventh trial on, the sampler learns from those before."""
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "made.yaml").write_text(FILE.replace("trials: 8", "trials: 13"))
    one = ("--workers", 1)
    assert run(tmp_path / "whole", clock, *one)[1] == 26 + ROWS
    for hours in (9, 13):
        assert run(tmp_path / "parts", clock, *one, "--stop-after", hours)[0].returncode == 1
    assert run(tmp_path / "parts", clock, *one)[0].returncode == 0
    assert table(tmp_path / "parts") == table(tmp_path / "whole")


def test_rows_that_max_hours_leaves_out_have_no_trials_until_they_are_asked_for(tmp_path, clock, counted):
    (tmp_path / "made.yaml").write_text(
        FILE.replace(
            "squared_l2}}]}]",
            "squared_l2}}]}, {list: [{label: third, set: {metric.c: 0.5}}], priority: 1}]",
        )
    )
    refused, none = run(tmp_path, clock, "--max-hours", 27)
    assert (refused.returncode, none) == (2, 0)
    assert "--max-hours 27: the experiment needs 28 hours" in refused.stderr
    done, cells = run(tmp_path, clock, "--max-hours", 28)
    assert (done.returncode, cells) == (0, TRIALS + ROWS)
    assert "--max-hours 28: 1 of 3 rows are left out" in done.stdout
    shown = trials.listing(sequential.recorded(planner.load(tmp_path / "made.yaml"), tmp_path / "runs"))
    assert (shown["tuning"]["ended"], shown["tuning"]["trials"], shown["tuning"]["unknown"]) == (16, 24, 3)
    whole, cells = run(tmp_path, clock)
    assert (whole.returncode, cells) == (0, (TRIALS + ROWS) * 3 // 2)


@pytest.mark.parametrize(("hours", "seeds"), [(24, 2), (27, 4)])
def test_hours_of_the_trials_count_before_seeds_are_added(tmp_path, clock, counted, hours, seeds):
    """16 hours of trials, 8 of rows, 2 for each further seed of the tuned ones."""
    alike = FILE.replace("{metric: squared_l2}", "{metric.c: 0.05}")
    (tmp_path / "made.yaml").write_text(alike.replace("[0, 1, 2]", "{min: 2, max: 5, until: decided}"))
    done, cells = run(tmp_path, clock, "--max-hours", hours)
    assert done.returncode == 0
    assert cells == 24 + 2 * (seeds - 2)
    assert "hours are used up before all claims are decided" in done.stdout
