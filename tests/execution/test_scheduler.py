"""The rules of the scheduler, with an executor whose workers end as a script says."""

from __future__ import annotations

import time

import pytest

from ablate.core.files import read_json, write_json
from ablate.execution.scheduler import TIME_IS_UP, Scheduler
from ablate.planning import planner
from ablate.runs import heartbeat
from ablate.runs.record import BUSY, INTERRUPTED, NO_DISK, blank
from ablate.runs.store import Folder, Store

FILE = "name: some\nplan: [{grid: {metric.c: [0.1, 0.2, 0.3]}}]\n"


class Scripted:
    """Room for one cell at a time; each start takes the next exit code of its script, None: it hangs."""

    def __init__(self, *codes):
        self.codes, self.running, self.started, self.stopped = list(codes), {}, [], []

    def has_room(self):
        return not self.running

    def submit(self, folder):
        self.started.append(folder.name)
        self.running[folder] = code = self.codes.pop(0)
        if code == 0:
            write_json(folder / "record.json", blank(read_json(folder / "config.json"), "finished"))

    def ended(self):
        done = {f: c for f, c in self.running.items() if c is not None}
        self.running = {f: c for f, c in self.running.items() if c is None}
        return done

    def stop(self, folder, at_once=False):
        self.stopped.append(at_once)
        self.running[folder] = -9 if at_once else INTERRUPTED

    def cancel(self, grace_s=30.0):
        self.stopped.append(grace_s)


@pytest.fixture
def made(tmp_path):
    (tmp_path / "some.yaml").write_text(FILE)
    cells = list(planner.load(tmp_path / "some.yaml").cells.values())

    def make(*codes, n=1, **more):
        executor = Scripted(*codes)
        scheduler = Scheduler(executor, Store(tmp_path / "runs"), **more)
        for cell in cells[:n]:
            scheduler.add(cell)
        return scheduler, executor

    return make


def completed(scheduler):
    ends, deadline = [], time.monotonic() + 20
    while scheduler.busy:
        assert time.monotonic() < deadline
        ends += scheduler.poll()
    return ends


def test_a_crash_is_retried_and_counted(made):
    scheduler, executor = made(-9, 1, 0, retries=2)
    (end,) = completed(scheduler)
    assert (end.state, len(executor.started)) == ("finished", 3)
    assert heartbeat.crash_count(end.folder) == 2


def test_a_cell_that_crashes_again_and_again_leaves_no_record_and_stops_no_other(made):
    scheduler, _ = made(-9, 0, 0, -9, n=3, retries=1)
    states = {e.cell.recipe.metric.c: e for e in completed(scheduler)}
    assert [states[c].state for c in (0.1, 0.2, 0.3)] == ["crashed", "finished", "finished"]
    assert states[0.1].record is None
    assert "signal 9" in states[0.1].reason
    assert heartbeat.state(states[0.1].folder) == "crashed"


def test_a_failure_that_has_a_record_is_not_repeated(made):
    scheduler, executor = made(0)
    executor.submit = lambda folder: (
        write_json(folder / "record.json", blank(read_json(folder / "config.json"), "failed", "why")),
        executor.started.append(folder.name),
        executor.running.update({folder: 0}),
    )
    (end,) = completed(scheduler)
    assert (end.state, end.reason, len(executor.started)) == ("failed", "why", 1)


def test_a_disk_that_cannot_be_written_ends_the_sweep_without_records(made):
    scheduler, executor = made(NO_DISK, n=3)
    ends = completed(scheduler)
    assert sorted(e.state for e in ends) == ["crashed", "interrupted", "interrupted"]
    assert len(executor.started) == 1
    assert not any(e.record for e in ends)


def test_a_worker_without_progress_is_stopped_and_restarted(made):
    scheduler, executor = made(None, 0, stall_s=5.0)
    scheduler.poll()
    (path,) = executor.running
    write_json(Folder(path).state, {"state": "running", "progress": time.time() - 60})
    assert scheduler.poll() == []
    assert executor.stopped == []  # that heartbeat is older than this worker
    scheduler.started[path] -= 60
    (end,) = completed(scheduler)
    assert (end.state, executor.stopped, len(executor.started)) == ("finished", [False], 2)


def test_a_cell_that_another_run_computes_is_waited_for(made):
    scheduler, executor = made(BUSY)
    scheduler.poll()
    (path,) = scheduler.elsewhere
    with Folder(path).lock():
        write_json(Folder(path).record, blank(read_json(Folder(path).config), "finished"))
        (end,) = completed(scheduler)
    assert (end.state, end.computed, len(executor.started)) == ("finished", False, 1)


def test_a_cell_that_another_run_abandoned_is_computed(made):
    scheduler, executor = made(BUSY, 0)
    (end,) = completed(scheduler)
    assert (end.state, end.computed, len(executor.started)) == ("finished", True, 2)


def test_a_cell_may_be_stopped_and_added_again(made):
    scheduler, executor = made(None, 0)
    scheduler.poll()
    (path,) = executor.running
    scheduler.stop(path.name, "its trial was pruned")
    (end,) = completed(scheduler)
    assert (end.state, end.reason) == ("stopped", "its trial was pruned")
    scheduler.add(end.cell)
    assert completed(scheduler)[0].state == "finished"


@pytest.mark.parametrize("code", [INTERRUPTED, -15])
def test_a_cell_that_something_else_stopped_says_no_other_reason(made, code):
    (end,) = completed(made(code, retries=0)[0])
    assert (end.state, end.reason) == ("interrupted", "it was asked to stop")


def test_a_second_ctrl_c_ends_the_workers_at_once(made):
    scheduler, executor = made(None)
    scheduler.poll()

    def cancel(grace_s):
        executor.stopped.append(grace_s)
        if grace_s:
            raise KeyboardInterrupt

    executor.cancel = cancel
    with pytest.raises(KeyboardInterrupt):
        scheduler.cancel()
    assert executor.stopped == [30.0, 0]


TUNED = """
name: tuned
plan: [{list: [{label: tuned, set: {init_from: {name: recipe, recipe: edm, share: 0.5}}}]}]
"""


@pytest.fixture
def needing(tmp_path):
    """A cell that needs another, and a scheduler whose workers end with these states, None: without a record."""
    (tmp_path / "tuned.yaml").write_text(TUNED)
    (cell,) = planner.load(tmp_path / "tuned.yaml").cells.values()
    store = Store(tmp_path / "runs")

    class Stated(Scripted):
        def submit(self, folder):
            self.started.append(folder.name)
            state = self.codes.pop(0)
            self.running[folder] = 0 if state else 1
            if state:
                write_json(folder / "record.json", blank(read_json(folder / "config.json"), state))
                (folder / "model.safetensors").touch()

    def make(*states, **more):
        executor, followed = Stated(*states), []
        follow = lambda folder, running: followed.append(folder.key)  # noqa: E731
        return Scheduler(executor, store, follow, **more), executor, followed

    return cell, cell.needs["init_from"], make


@pytest.mark.parametrize("first", ["needed", "needing"])
def test_a_needed_cell_is_computed_first_in_whatever_order_they_were_added(needing, first):
    cell, need, make = needing
    scheduler, executor, followed = make("finished", "finished")
    for added in (need, cell) if first == "needed" else (cell, need):
        scheduler.add(added)
    states = {end.cell.key: end.state for end in completed(scheduler)}
    assert executor.started == [need.key, cell.key]
    assert states[cell.key] == "finished"
    assert cell.key in followed


def test_who_adds_the_needing_cell_only_hears_of_that_cell_only(needing):
    cell, need, make = needing
    scheduler, executor, followed = make("finished", "finished")
    scheduler.add(cell)
    assert [end.cell.key for end in completed(scheduler)] == [cell.key]
    assert executor.started == [need.key, cell.key]
    assert {*followed} == {cell.key}


@pytest.mark.parametrize("state", ["diverged", "failed", None])
def test_without_the_needed_cell_the_other_stays_open_and_says_why(needing, state):
    cell, need, make = needing
    scheduler, executor, _ = make(state, retries=0)
    scheduler.add(need)
    scheduler.add(cell)
    last = completed(scheduler)[-1]
    assert (last.cell.key, last.state) == (cell.key, "open")
    assert last.reason == f"it needs cell {need.key}, which {state or 'is not computed'}"
    assert executor.started == [need.key]
    assert not (last.folder.path / "record.json").exists()


def test_when_time_is_up_running_cells_save_and_waiting_ones_never_start(made):
    scheduler, executor = made(None, n=3, until=time.monotonic() + 0.05)
    ends = completed(scheduler)
    assert {(end.state, end.reason) for end in ends} == {("interrupted", TIME_IS_UP)}
    assert (len(ends), len(executor.started), executor.stopped) == (3, 1, [False])
    assert not any(heartbeat.crash_count(end.folder) for end in ends)


def test_a_worker_that_is_killed_when_time_is_up_has_not_crashed(made, monkeypatch):
    monkeypatch.setattr("ablate.execution.scheduler.KILL_S", 0.0)
    scheduler, executor = made(None, until=0.0, retries=0)
    scheduler.until = None
    scheduler.poll()
    scheduler.until = 0.0
    executor.stop = lambda folder, at_once=False: executor.running.update({folder: -9} if at_once else {})
    (end,) = completed(scheduler)
    assert (end.state, end.reason, heartbeat.crash_count(end.folder)) == ("interrupted", TIME_IS_UP, 0)


def test_when_time_is_up_nobody_waits_for_another_run(made):
    scheduler, _ = made(BUSY, until=time.monotonic() + 0.2)
    (end,) = completed(scheduler)
    assert (end.state, end.reason) == ("interrupted", TIME_IS_UP)
