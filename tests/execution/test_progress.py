"""What a run says while its cells are computed, in a terminal and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ablate.core.files import write_json
from ablate.execution import progress as module
from ablate.execution.progress import Pace, Progress
from ablate.execution.scheduler import CellEnd
from ablate.planning import planner
from ablate.runs.heartbeat import Heartbeat
from ablate.runs.store import Store

FILE = """
name: some
seeds: [0, 1]
plan: [{list: [{label: "plain [b]row[/b]"}, {label: L, set: {metric: l1}}]}]
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "some.yaml").write_text(FILE.replace("L,", f"{'long ' * 30},"))
    return planner.load(tmp_path / "some.yaml"), Store(tmp_path / "runs")


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def shown(place, request, monkeypatch):
    """A progress, and a function that returns what it has shown."""
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    monkeypatch.setattr(module, "LINE_S", 0.0)
    out, terminal = io.StringIO(), request.param
    monkeypatch.setattr(
        module,
        "Console",
        lambda file: Console(file=out, force_terminal=terminal, width=100, color_system=None),
    )
    with Progress(len(place[0].cells), place[0].rows) as progress:

        def look():
            progress.update()
            progress.bars.refresh()
            return out.getvalue()

        yield progress, look


def test_the_row_the_seed_and_the_phase_are_there_from_the_first_look(place, shown):
    (experiment, store), (progress, look) = place, shown
    cell = next(iter(experiment.cells.values()))
    folder = store.prepare(cell)
    progress.start(folder, cell)
    assert "plain [b]row[/b] seed 0" in look()
    assert "starting" in look()
    with Heartbeat(folder) as heart:
        assert "data" in look()
        heart.at(cell.profile.steps // 2, cell.profile.images // 2)
        heart._write("running")
        assert "training" in look()
        heart.at(cell.profile.steps, cell.profile.images)
        heart._write("running")
        assert "measuring" in look()
    progress.end(CellEnd(cell, folder, "crashed", reason="signal 9"))
    assert f"[1/4] plain [b]row[/b] seed 0 ({cell.key}) crashed: signal 9; about " in look()


def test_a_long_label_leaves_room(place, shown):
    (experiment, store), (progress, look) = place, shown
    cell = experiment.cells[experiment.rows[1].keys[1]]
    progress.start(store.prepare(cell), cell)
    assert "long long" in look()
    assert "... seed 1" in look()


def test_cells_of_a_study_get_their_names_later(place, shown):
    (experiment, store), (progress, look) = place, shown
    cell = next(iter(experiment.cells.values()))
    progress.labels.clear()
    progress.name("trial 7", [cell.key])
    progress.start(store.prepare(cell), cell)
    assert "trial 7 seed 0" in look()


def test_an_old_heartbeat_says_nothing_about_a_cell_that_starts(place, shown):
    (experiment, store), (progress, look) = place, shown
    cell = next(iter(experiment.cells.values()))
    folder = store.prepare(cell)
    write_json(folder.state, {"state": "interrupted", "time": 0, "step": 99})
    progress.start(folder, cell)
    assert "starting" in look()


def test_the_time_left_is_that_of_the_whole_table():
    pace = Pace(total=6)
    assert pace.left(0, {}) is None
    pace.start("a", 0), pace.start("b", 0)
    assert pace.left(1, {"a": 0.01, "b": 0.0}) is None
    assert pace.left(10, {"a": 0.5, "b": 0.5}) == pytest.approx((4 * 20 + 10 + 10) / 2)
    pace.end("a", 20)
    pace.start("c", 20)
    assert pace.left(20, {}) == pytest.approx((3 * 20 + 1 + 20) / 2)
    for key in "bcdef":
        pace.start(key, 20), pace.end(key, 40)
    assert pace.left(40, {}) == 0


def test_a_cell_that_takes_longer_than_the_others_is_never_over_before_its_end():
    pace = Pace(total=2)
    pace.start("a", 0), pace.end("a", 10), pace.start("b", 10)
    assert 0 < pace.left(1000, {"b": 0.1}) < 10


def test_what_an_earlier_run_trained_says_nothing_about_the_speed_of_this_one():
    pace = Pace(total=2)
    pace.start("a", 0, before=0.5)
    assert pace.left(10, {"a": 0.5}) is None
    assert pace.left(10, {"a": 0.52}) is None
    assert pace.left(10, {"a": 0.4}) is None  # it resumed from a checkpoint before the last line
    assert pace.left(10, {"a": 0.6}) == pytest.approx((0.5 * 100 - 10) + 100)


def test_a_cell_that_resumed_counts_in_full():
    pace = Pace(total=2)
    pace.start("a", 0, before=0.75), pace.end("a", 25)
    assert pace.left(25, {}) == pytest.approx(100)
    pace.start("b", 25, before=0.9)
    assert pace.left(25, {"b": 0.9}) == pytest.approx(10)


def test_a_cell_that_only_had_to_be_measured():
    pace = Pace(total=2)
    pace.start("a", 0, before=1.0), pace.end("a", 5)
    assert pace.left(5, {}) == pytest.approx(100)


def test_nothing_is_left_to_estimate_when_a_cell_resumes(place, shown):
    (experiment, store), (progress, look) = place, shown
    cell = next(iter(experiment.cells.values()))
    folder = store.prepare(cell)
    write_json(folder.state, {"state": "interrupted", "step": cell.profile.steps // 2})
    folder.append(cell.profile.steps // 2, cell.profile.images // 2, {"loss": 1.0})
    progress.start(folder, cell)
    assert "starting" in look()
    assert "left" not in look()
