"""What a runs directory holds, and how space is freed without touching what is computed or needed."""

from __future__ import annotations

import json
import shutil
import time
from types import SimpleNamespace

import pytest
from helpers.cli import call

from ablate.core.files import write_json
from ablate.core.formats import age, size
from ablate.planning import planner
from ablate.runs import space
from ablate.runs.record import blank
from ablate.runs.store import NAMED, Store, describe

FILE = """
name: some
seeds: [0]
plan: [{list: [{label: "a [b]$|x"}, {label: second, set: {metric: l1}}, {label: third, set: {metric: squared_l2}}]}]
"""
START = """
name: start
plan: [{list: [{label: from, set: {init_from: {name: run, key: KEY}}}]}]
"""


@pytest.fixture
def place(tmp_path):
    """A finished, a stopped and an open cell, and a cache."""
    (tmp_path / "some.yaml").write_text(FILE)
    experiment, store = planner.load(tmp_path / "some.yaml"), Store(tmp_path / "runs")
    finished, stopped, _ = map(store.prepare, experiment.cells.values())
    write_json(finished.record, blank(describe(next(iter(experiment.cells.values()))), "finished"))
    write_json(finished.path / NAMED, {"experiment": "some", "row": "a [b]$|x"})
    write_json(stopped.state, {"state": "interrupted", "time": 0})
    stopped.checkpoints[0].write_bytes(bytes(100_000))
    for name in (
        "doctor-1.json",
        "fidelity/x.pt",
        "images-abc/pixels.npy",
        "classifier-1.safetensors",
        "real-1.json",
    ):
        file = store.cache / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(5000))
    return tmp_path, store, experiment


def runs(place, *arguments):
    done = call("runs", *arguments, cwd=place[0])
    assert done.returncode == 0, done.stderr
    return done.stdout


def cached(place):
    return {p.name for p in (place[1].path / "cache").iterdir()}


def test_the_list_names_row_experiment_state_size_and_age(place):
    answer = json.loads(runs(place, "list", "--json"))
    by_state = {e["state"]: e for e in answer["entries"]}
    assert set(by_state) == {"finished", "stopped", "open"}
    assert (by_state["finished"]["row"], by_state["finished"]["experiment"]) == ("a [b]$|x", "some")
    assert by_state["stopped"]["bytes"] >= 100_000
    assert answer["bytes"] == sum(e["bytes"] for e in answer["entries"])
    shown = runs(place, "list")
    assert "a [b]$|x" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "3 cells: 1" in shown


def test_a_report_names_cells_that_older_versions_started(place):
    key = list(place[2].cells)[2]
    (place[0] / "reports/old").mkdir(parents=True)
    (place[0] / "reports/old/table.csv").write_text(f"row,n,keys\nby hand,1,{key}\n")
    answer = json.loads(runs(place, "list", "--json"))["entries"]
    assert [(e["experiment"], e["row"]) for e in answer if e["key"] == key] == [("old", "by hand")]


def test_prune_only_lists_without_yes(place):
    before = sorted(p for p in place[0].rglob("*"))
    shown = runs(place, "prune")
    assert "nothing was removed" in shown
    assert "2 cells, 3 of the cache would go" in shown
    assert sorted(p for p in place[0].rglob("*")) == before


def test_prune_keeps_results_and_what_numbers_depend_on(place):
    finished = next(iter(place[2].cells))
    runs(place, "prune", "--yes")
    assert place[1].keys() == [finished]
    assert {"classifier-1.safetensors", "real-1.json"} <= cached(place)
    assert not {"doctor-1.json", "images-abc"} & cached(place)
    assert not (place[1].path / space.TRASH).exists()
    assert json.loads(runs(place, "prune", "--json"))["entries"] == []


def test_with_files_finished_cells_of_no_file_go_too_and_others_stay(place):
    (place[0] / "one.yaml").write_text("name: one\nplan: [{list: [{label: x, set: {metric: l1}}]}]\n")
    finished, stopped, _ = place[2].cells
    answer = json.loads(runs(place, "prune", "one.yaml", "--json"))["entries"]
    whys = {e["key"]: e["why"] for e in answer if e["key"]}
    assert whys[finished] == "in none of the files"
    assert whys[stopped] == "unfinished"
    assert finished not in {
        e["key"] for e in json.loads(runs(place, "prune", "some.yaml", "--json"))["entries"]
    }


def test_a_finished_cell_that_may_be_of_a_study_stays(place):
    (place[0] / "one.yaml").write_text("name: one\nplan: [{list: [{label: x, set: {metric: l1}}]}]\n")
    finished = next(iter(place[2].cells))
    (place[1].folder(finished).path / NAMED).unlink()
    answer = json.loads(runs(place, "prune", "one.yaml", "--json"))["entries"]
    assert finished not in {e["key"] for e in answer}


def test_weights_that_a_named_cell_starts_from_stay(place):
    finished = next(iter(place[2].cells))
    held = space.cells(place[1], place[0])
    flat = {"init_from.key": finished[:6]}
    cell = SimpleNamespace(fingerprint="f", recipe=SimpleNamespace(flat=lambda: flat))
    start = SimpleNamespace(cells={"k": cell}, all_cells={"k": cell})
    assert finished not in {h.key for h in space.prunable(place[1], held, [start])}


def test_what_is_computed_is_never_touched(place):
    stopped = place[1].folder(list(place[2].cells)[1])
    with stopped.lock().acquire():
        before = cached(place)
        answer = runs(place, "prune", "--yes")
        assert stopped.key not in answer
        assert stopped.checkpoints[0].exists()
        assert cached(place) == before
        done = call("runs", "remove", stopped.key, "--yes", cwd=place[0])
        assert (done.returncode, done.stderr) == (2, f"error: {stopped.key}: it is being computed\n")


def test_a_cell_that_starts_after_the_list_was_made_is_left_alone(place):
    held = [h for h in space.cells(place[1], place[0]) if h.state == "stopped"]
    folder = place[1].folder(held[0].key)
    with folder.lock().acquire():
        assert list(space.remove(place[1], held)) == []
    write_json(folder.state, {"state": "running", "time": time.time(), "host": "elsewhere"})
    assert list(space.remove(place[1], held)) == []
    assert folder.checkpoints[0].exists()
    shutil.rmtree(folder.path)
    assert list(space.remove(place[1], held)) == []


def test_remove_takes_beginnings_of_keys_and_needs_yes(place):
    first, second, third = place[2].cells
    assert "nothing was removed" in runs(place, "remove", first[:6])
    assert place[1].folder(first).config.exists()
    assert "removed" in runs(place, "remove", first[:6], third, "--yes")
    assert place[1].keys() == [second]


@pytest.mark.parametrize("typed", ["zzzz", "", "../cache", "*"])
def test_what_is_no_key_is_one_line(place, typed):
    done = call("runs", "remove", typed, "--yes", cwd=place[0])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "runs list" in done.stderr
    assert len(place[1].keys()) == 3


def test_a_runs_directory_that_is_not_there_has_nothing(tmp_path):
    assert json.loads(call("runs", "list", "--json", cwd=tmp_path).stdout)["entries"] == []
    assert call("runs", "prune", "--yes", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "runs").exists()


def test_what_an_interrupted_command_left_goes_with_the_next(place):
    left = place[1].path / space.TRASH / "abc-1"
    left.mkdir(parents=True)
    (left / "config.json").write_text("{}")
    assert len(place[1].keys()) == 3
    runs(place, "prune", "--yes")
    assert not left.exists()


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (12_345, "12 kB"),
        (3.4e6, "3.4 MB"),
        (5e15, "5000 TB"),
    ],
)
def test_sizes(n, text):
    assert size(n) == text


@pytest.mark.parametrize(
    ("s", "text"), [(-1, "0 s"), (59, "59 s"), (61, "1 min"), (7300, "2 h"), (3e5, "3 d")]
)
def test_ages(s, text):
    assert age(s) == text
