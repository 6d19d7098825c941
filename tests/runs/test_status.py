"""What `status` reads from a runs directory, and how long it thinks that the rest takes."""

from __future__ import annotations

import io
import json

import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from ablate.cli import app
from ablate.core.files import write_json
from ablate.planning import planner
from ablate.runs import heartbeat, status
from ablate.runs.heartbeat import Heartbeat
from ablate.runs.record import blank
from ablate.runs.store import Store, describe

FILE = "name: some\nseeds: [0, 1]\nplan: [{grid: {metric.c: [0.1, 0.2]}}]\n"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "some.yaml").write_text(FILE)
    return planner.load(tmp_path / "some.yaml"), Store(tmp_path / "runs")


def by_key(place):
    return {c["key"]: c for c in status.cells(place[0], place[1].path)}


def test_every_state_is_shown(place):
    experiment, store = place
    finished, diverged, crashed, untouched = experiment.cells.values()
    for cell, state in ((finished, "finished"), (diverged, "diverged")):
        record = blank(describe(cell), state, None if state == "finished" else "not finite")
        record |= {"images": 160, "fid": [{"nfe": 1, "value": 3.5}] if state == "finished" else []}
        write_json(store.prepare(cell).record, record)
    heartbeat.note_crash(store.prepare(crashed), "signal 9")
    found = by_key(place)
    assert [found[c.key]["state"] for c in (finished, diverged, crashed, untouched)] == [
        "finished",
        "diverged",
        "crashed",
        "open",
    ]
    assert (found[finished.key]["step"], found[finished.key]["fid"]) == (10, {"1": 3.5})
    assert (found[crashed.key]["reason"], found[diverged.key]["reason"]) == ("signal 9", "not finite")
    assert status.totals(list(found.values())) == {
        "states": {"finished": 1, "diverged": 1, "crashed": 1, "open": 1},
        "eta_s": None,
    }


def test_a_running_cell_tells_its_speed_and_the_rest_follows_from_it(place):
    experiment, store = place
    cell = next(iter(experiment.cells.values()))
    folder = store.prepare(cell)
    half = cell.profile.steps // 2
    with folder.lock().acquire(), Heartbeat(folder, device="cpu", pid=1) as heart:
        heart.at(half, half * 16)
        folder.append(half, half * 16, {"loss": 0.25, "images_per_s": 100.0})
        found = list(by_key(place).values())
    assert found[0]["state"] == "running"
    assert found[0]["eta_s"] == pytest.approx(half * 16 / 100)
    assert status.totals(found)["eta_s"] == pytest.approx(
        7 * found[0]["eta_s"]
    )  # half a cell, three whole ones


def test_it_writes_nothing_and_speaks_json(tmp_path):
    (tmp_path / "some.yaml").write_text(FILE)
    arguments = ["status", str(tmp_path / "some.yaml"), "--runs-dir", str(tmp_path / "runs")]
    answer = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert answer["states"] == {"open": 4}
    shown = CliRunner().invoke(app, arguments).stdout
    assert all(c["key"] in shown for c in answer["cells"])
    assert not (tmp_path / "runs").exists()


def test_trials_that_have_not_begun_are_counted_too(tmp_path):
    tune = "tune: {search: {optimizer.lr: {low: 0.001, high: 0.01}}, trials: 3, seeds: [9]}\n"
    (tmp_path / "some.yaml").write_text(FILE + tune)
    arguments = ["status", str(tmp_path / "some.yaml"), "--runs-dir", str(tmp_path / "runs")]
    shown = " ".join(CliRunner().invoke(app, [*arguments, "--once"]).stdout.split())
    assert "4 open tuning optimizer.lr: 3 trials for each of 2 recipes, 6 cells" in shown
    assert "(0 of 6 trials have ended) tuned rows: 4 cells" in shown
    assert json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)["tuning"]["trials"] == 6


def test_many_cells_are_read_quickly_and_what_runs_stands_first(tmp_path):
    (tmp_path / "some.yaml").write_text(FILE.replace("[0.1, 0.2]", str([0.001 * i for i in range(1, 301)])))
    experiment, store = planner.load(tmp_path / "some.yaml"), Store(tmp_path / "runs")
    heartbeat.note_crash(store.prepare(list(experiment.cells.values())[-1]), "signal 9")
    found = status.cells(experiment, store.path)
    assert len(found) == 600
    assert "560 cells are not shown" in str(status.table("some", found).caption)
    assert status.table("some", found).row_count == 40


def test_what_a_stopped_run_leaves_is_stopped_and_what_the_machine_lacked_is_open(place):
    experiment, store = place
    asked, killed, lacking, begun = map(store.prepare, experiment.cells.values())
    with pytest.raises(KeyboardInterrupt), Heartbeat(asked):
        raise KeyboardInterrupt
    write_json(killed.state, {"state": "running", "time": 0, "step": 5})
    heartbeat.note_open(lacking, "no weights")
    assert begun.config.exists()  # prepared, never started
    found = by_key(place)
    states = [found[folder.key]["state"] for folder in (asked, killed, lacking, begun)]
    assert states == ["stopped", "stopped", "open", "open"]
    assert (found[lacking.key]["reason"], heartbeat.crash_count(lacking)) == ("no weights", 0)


def test_the_phase_of_a_running_cell_is_known_from_its_first_heartbeat(place):
    experiment, store = place
    cell = next(iter(experiment.cells.values()))
    folder, steps = store.prepare(cell), cell.profile.steps

    def seen(heart, step):
        heart.at(step, step * 16)
        heart._write("running")
        return by_key(place)[cell.key]["phase"]

    with folder.lock().acquire():
        assert by_key(place)[cell.key]["phase"] == "starting"
        with Heartbeat(folder) as heart:
            assert [seen(heart, step) for step in (0, 1, steps - 1, steps)] == [
                "data",
                "training",
                "training",
                "measuring",
            ]
    assert by_key(place)[cell.key]["phase"] is None


@pytest.mark.parametrize("label", ["word " * 30, "x" * 300, "😀" * 60, "[red]a[/]", "metric.c=0.03"])
def test_80_columns_are_enough_for_any_label(place, label):
    experiment, store = place
    write_json(store.prepare(next(iter(experiment.cells.values()))).state, {"state": "running", "time": 0})
    found = [
        c | {"row": label, "fid": {"1": 1234.567, "2": 1000.123}}
        for c in status.cells(experiment, store.path)
    ]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(status.table(label, found))
    shown = console.export_text()
    assert max(map(cell_len, shown.splitlines())) <= 80
    assert all(c["key"] in shown for c in found)
    assert "stopped" in shown
    assert "1235, 1000" in shown
    assert label.replace(" ", "") in "".join(shown.split()).replace("...", "") or len(label) > 20


def test_a_runs_directory_that_is_none_is_an_error(tmp_path):
    (tmp_path / "some.yaml").write_text(FILE)
    done = CliRunner().invoke(app, ["sync", str(tmp_path / "some.yaml"), "--runs-dir", str(tmp_path / "no")])
    assert "there is no such directory" in str(done.exception)
