"""MLflow's view of the records, read back from a real store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing

import pytest
from PIL import Image

from ablate.core.errors import SpecError
from ablate.tracking import server, unsent
from ablate.tracking import tracker as tracking
from ablate.tracking.backend import Backend
from ablate.tracking.tracker import Tracker

RECIPE = {
    "network": "ncsnpp",
    "embedding": "fourier",
    "metric": "pseudo_huber",
    "metric.c": 0.03,
    "teacher": "none",
    "network.sizes": [1, 2],
    "embedding.scale": None,
}
SPECS = {
    "metric": {"name": "pseudo_huber", "c": 0.03},
    "teacher": {"name": "none"},
    "network": {"name": "ncsnpp", "sizes": [1, 2]},
    "embedding": {"name": "fourier", "scale": None},
}
PROFILE = {"name": "digits", "summary": "", "images": 32000, "data": {"name": "digits", "flip": False}}
RECORD = {
    "images": 2048,
    "wall_s": 60.0,
    "fid": [{"nfe": 1, "value": 3.0}, {"nfe": 2, "value": 2.0}],
    "kid": [{"nfe": 1, "value": 0.1, "std": 0.01}],
    "precision": [{"nfe": 1, "value": 0.5}],
    "recall": [{"nfe": 1, "value": 0.4}],
    "provenance": {"commit": "abc", "dirty": False, "versions": {"torch": "2.0"}, "device": "cpu"},
}


class Cell:
    """A cell's folder, written as a worker writes it."""

    def __init__(self, runs, key="ab12"):
        self.path, self.tags = runs / key, {"row": "no metric"}
        (self.path / "samples").mkdir(parents=True)
        config = {
            "key": key,
            "specs": SPECS,
            "profile": PROFILE,
            "seed": 3,
            "parameters": 7,
            "fingerprint": "f" * 64,
        }
        (self.path / "config.json").write_text(json.dumps(config))

    def log(self, images, end="\n", **metrics):
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(
                json.dumps({"step": 1, "images": images, "time": 1000.0 + images, "metrics": metrics}) + end
            )
        return self

    def use(self, look, **metrics):
        with (self.path / "usage.jsonl").open("a") as file:
            line = {
                "look": look,
                "time": 1000.0 + look,
                "metrics": {f"system/{k}": v for k, v in metrics.items()},
            }
            file.write(json.dumps(line) + "\n")
        return self

    def grid(self, images):
        Image.new("L", (16, 16)).save(self.path / "samples" / f"images_{images:08d}_1step.png")
        return self

    def end(self, state="finished"):
        (self.path / "log.txt").write_text("done\n")
        (self.path / "record.json").write_text(json.dumps({**RECORD, "state": state}))
        return self


class View:
    """A tracker, and MLflow's answers about what it tracked."""

    def __init__(self, runs):
        self.runs = runs
        self.again()

    def again(self, experiment="table", **options):
        self.tracker = Tracker(self.runs, **options)
        self.tracker.open(experiment, {"file": "table.yaml"}, [])
        return self

    def show(self, cell, running=False):
        self.tracker.update(cell.path, cell.tags, running)
        assert self.tracker.problem is None
        return self.run(cell)

    @property
    def client(self):
        return tracking.load_mlflow().MlflowClient(self.tracker.backend.uri)

    def all(self, experiment="table"):
        return self.client.search_runs([self.client.get_experiment_by_name(experiment).experiment_id])

    def run(self, cell):
        (found,) = [r for r in self.all() if r.data.tags.get("ablate.key") == cell.path.name]
        return found

    def history(self, run, name):
        return [(m.step, m.value) for m in self.client.get_metric_history(run.info.run_id, name)]

    def files(self, run, under=None):
        return {f.path for f in self.client.list_artifacts(run.info.run_id, under)}


@pytest.fixture
def runs(tmp_path, mlflow_db):
    runs = tmp_path / "runs of #1"
    runs.mkdir()
    shutil.copy(mlflow_db, runs)
    return runs


@pytest.fixture
def view(runs):
    return View(runs)


@pytest.fixture
def cell(runs):
    return Cell(runs)


def test_a_finished_cell_is_shown_whole(view, cell):
    run = view.show(cell.log(64, loss=1.5).log(2048, loss=0.5).grid(64).end())
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "no metric · seed 3"
    assert (run.info.start_time, run.info.end_time) == (1064_000, 3048_000)
    assert RECIPE.keys() < run.data.params.keys()
    assert run.data.params["metric.c"] == "0.03"
    assert run.data.params["profile.data.flip"] == "false"
    assert run.data.params["seed"] == "3"
    assert run.data.metrics == {
        "loss": 0.5, "fid_1step": 3.0, "fid_2step": 2.0, "kid_1step": 0.1, "precision_1step": 0.5,
        "recall_1step": 0.4, "wall_s": 60.0,
    }  # fmt: skip
    assert view.history(run, "loss") == [(64, 1.5), (2048, 0.5)]
    kept = {"config.json", "record.json", "metrics.jsonl", "log.txt", "samples", "images"}
    assert kept == view.files(run)
    assert any("samples_1step+step+64+" in f and f.endswith(".png") for f in view.files(run, "images"))
    expected = {
        "row": "no metric",
        "profile": "digits",
        "mlflow.source.git.commit": "abc",
        "ablate.state": "finished",
    }
    assert {**expected, "provenance.versions.torch": "2.0"}.items() < run.data.tags.items()
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", "f" * 36)


def test_the_parent_is_made_once_and_ended(view, cell):
    report = view.runs.parent / "report"
    report.mkdir()
    (report / "table.md").write_text("| a |")
    for _ in range(2):
        view.again().show(cell.log(64, loss=1.0), running=True)
        (parent,) = [r for r in view.all() if "ablate.parent" in r.data.tags]
        assert parent.info.status == "RUNNING"
        assert parent.data.tags["file"] == "table.yaml"
        view.tracker.close([report], {"supported": 2}, "finished")
        parent = view.client.get_run(parent.info.run_id)
        assert parent.info.status == "FINISHED"
        assert parent.data.metrics == {"supported": 2}
        assert view.files(parent, "report") == {"report/table.md"}


def test_following_adds_only_what_is_new(view, cell):
    cell.log(64, loss=1.0, N=10).log(128, end="", loss=0.9)
    assert view.history(view.show(cell, running=True), "loss") == [(64, 1.0)]
    with (cell.path / "metrics.jsonl").open("a") as file:
        file.write("\n")
    cell.log(64, loss=1.0).grid(64)
    for _ in range(2):
        run = view.show(cell, running=True)
        assert view.history(run, "loss") == [(64, 1.0), (128, 0.9)]
        assert len(view.files(run, "images")) == 2


def test_numbers_of_single_levels_are_a_file_and_no_charts(view, cell):
    cell.log(64, loss=1.0, loss_sigma_0=2.0, grad_sigma_10=3.0).log(128, loss=0.5, loss_sigma_0=1.5)
    run = view.show(cell.log(192, loss=0.4, sigma_0=7.0).end())
    assert not [name for name in run.data.metrics if "loss_sigma" in name or "levels" in name]
    (written,) = [f for f in view.files(run) if f == "levels.csv"]
    text = tracking.load_mlflow().artifacts.load_text(f"{run.info.artifact_uri}/{written}")
    assert text.splitlines() == ["images,loss_sigma_0,grad_sigma_10", "64,2.0,3.0", "128,1.5,"]


def test_a_metric_that_mlflow_refuses_costs_no_other(view, cell):
    cell.log(64, loss=1.0, **{"bad?name": 2.0, "//": 3.0}).log(128, loss=0.5).end()
    view.tracker.update(cell.path, cell.tags, False)
    run = view.run(cell)
    assert (run.info.status, view.history(run, "loss")) == ("FINISHED", [(64, 1.0), (128, 0.5)])
    assert run.data.metrics["fid_1step"] == 3.0
    assert "bad?name" in view.tracker.problem
    assert view.tracker.link() is None


def test_usage_is_shown_over_time_in_its_own_tab(view, cell):
    view.show(cell.log(64, loss=1.0).use(0, cpu=90.0), running=True)
    assert view.tracker.is_current(cell.path, running=True)
    cell.use(1, cpu=80.0)
    assert not view.tracker.is_current(cell.path, running=True)
    run = view.show(cell.end())
    assert view.history(run, "system/cpu") == [(0, 90.0), (1, 80.0)]
    assert run.info.end_time == 1064_000  # of the last line of training
    assert "usage.jsonl" in view.files(run)


def test_updating_twice_changes_nothing(view, cell):
    first = view.show(cell.log(64, loss=1.0).grid(64).end())
    (cell.path / "record.json").touch()
    for tracker in (view, view.again(), view.again(check=True)):
        again = tracker.show(cell)
        assert again.to_dictionary() == first.to_dictionary()
        assert view.history(again, "loss") == [(64, 1.0)]
        assert len(view.files(again, "images")) == 2


def test_points_that_were_sent_but_not_noted_are_no_duplicates(view, cell):
    view.show(cell.log(64, loss=1.0), running=True)
    sent = unsent.Sent.load(cell.path, view.tracker._view)
    sent.offset, sent.last, sent.described = 0, {}, False
    sent.save(cell.path, view.tracker._view)
    assert view.history(view.show(cell, running=True), "loss") == [(64, 1.0)]


def test_a_killed_cell_resumes_in_its_own_run(view, cell):
    seen = [view.show(cell.log(64, loss=1.0), running=True), view.again().show(cell)]
    seen += [view.again().show(cell.log(128, loss=0.9), running=True), view.again().show(cell.end())]
    assert [r.info.status for r in seen] == ["RUNNING", "KILLED", "RUNNING", "FINISHED"]
    assert len({r.info.run_id for r in seen}) == 1


@pytest.mark.parametrize("state", ["diverged", "failed"])
def test_an_unhappy_end_shows_as_failed(view, cell, state):
    run = view.show(cell.end(state))
    assert (run.info.status, run.data.tags["ablate.state"]) == ("FAILED", state)


def test_numbers_without_end_become_nan(view, cell):
    run = view.show(cell.log(64, loss=float("inf"), norm=float("nan")))
    assert str(run.data.metrics) == "{'loss': nan, 'norm': nan}"


def test_a_deleted_store_is_built_again(view, cell, mlflow_db):
    first = view.show(cell.log(64, loss=1.0).end())
    shutil.copy(mlflow_db, view.runs)  # as if deleted and made anew
    with closing(sqlite3.connect(view.tracker.backend.file)) as database:
        database.execute("PRAGMA user_version = 1")
    assert not view.tracker.is_current(cell.path)
    run = view.show(cell)
    assert run.info.run_id != first.info.run_id
    assert view.history(run, "loss") == [(64, 1.0)]
    assert len(view.all()) == 2


def test_a_run_that_was_deleted_comes_back_when_checked(view, cell):
    first = view.show(cell.log(64, loss=1.0).end())
    view.client.delete_run(first.info.run_id)
    assert view.again(check=True).show(cell).info.run_id != first.info.run_id


def test_a_cell_that_was_deleted_replaces_its_old_run(view, cell):
    view.show(cell.log(64, loss=1.0))
    shutil.rmtree(cell.path)
    run = view.show(Cell(view.runs).log(64, loss=2.0))
    assert view.history(run, "loss") == [(64, 2.0)]


def test_a_cell_of_two_experiments_is_in_both(view, cell):
    view.show(cell.log(64, loss=1.0).end())
    view.again("ablation").tracker.update(cell.path, cell.tags, False)
    assert len(view.all()) == len(view.all("ablation")) == 2
    assert view.tracker.is_current(cell.path)
    assert view.again().tracker.is_current(cell.path)


def test_new_tags_reach_a_current_cell(view, cell):
    view.show(cell.end())
    cell.tags = {"row": "renamed"}
    assert view.show(cell).info.run_name == "renamed · seed 3"


def test_a_moved_folder_is_an_error(view, cell):
    view.show(cell.end())
    moved = view.runs.rename(view.runs.parent / "moved")
    tracker = Tracker(moved)
    tracker.open("table", {}, [])
    tracker.update(moved / cell.path.name, {}, False)
    assert "delete it" in str(tracker.problem)


def test_half_a_picture_waits_until_it_is_whole(view, cell):
    file = cell.grid(64).path / "samples" / "images_00000064_1step.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:40])
    assert view.files(view.show(cell, running=True)) == set()
    file.write_bytes(whole)
    assert view.files(view.show(cell, running=True)) == {"images", "samples"}


def fresh(code, *arguments):
    """A process of its own, which has imported nothing yet."""
    command = [
        sys.executable,
        "-c",
        "import sys; from pathlib import Path; from ablate.tracking.tracker import *\n"
        "from ablate.tracking.server import serve\n" + code,
    ]
    return subprocess.Popen(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_current_view_costs_no_import(view, cell):
    view.show(cell.log(64, loss=1.0).end())
    view.tracker.close([], {}, "finished")
    code = """tracker = Tracker(Path(sys.argv[1]))
tracker.open("table", {"file": "table.yaml"}, [])
tracker.update(Path(sys.argv[2]), {"row": "no metric"}, False)
tracker.close([], {}, "finished")
print(tracker.problem, "mlflow" in sys.modules)"""
    assert fresh(code, view.runs, cell.path).communicate()[0].split() == ["None", "False"]


@pytest.mark.slow
def test_processes_that_start_cold_share_one_store(tmp_path):
    cells = [Cell(tmp_path, f"c{i}").log(64, loss=1.0).end() for i in range(3)]
    code = """tracker = Tracker(Path(sys.argv[1]))
tracker.open("table", {}, [])
tracker.update(Path(sys.argv[2]), {}, False)
print(tracker.problem)"""
    started = [fresh(code, tmp_path, cell.path) for cell in cells]
    assert [process.communicate()[0] for process in started] == ["None\n"] * 3
    assert len(View(tmp_path).all()) == 4
    assert not list(tmp_path.glob("mlflow.*.db*"))


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_server_that_is_down_costs_nothing(cell, port):
    tracker = Tracker(cell.path.parent, f"http://me:secret@127.0.0.1:{port}")
    began = time.monotonic()
    for _ in range(100):
        tracker.update(cell.path, {}, True)
    tracker.close([], {}, "failed")
    assert time.monotonic() - began < 5
    assert tracker.problem
    assert "\n" not in tracker.problem
    assert "secret" not in tracker.problem


def test_the_pages_are_for_this_machine(tmp_path):
    line = server.command(Backend(tmp_path), 5001)
    assert line[line.index("--host") + 1] == "127.0.0.1"
    assert line[line.index("--port") + 1] == "5001"
    assert f"sqlite:///{tmp_path}/mlflow.db" in line


def test_a_server_has_its_own_pages(tmp_path):
    with pytest.raises(SpecError, match="browser"):
        server.serve(tmp_path, "http://127.0.0.1:1", 5001)
    (tmp_path / "mlflow.db").write_text("no database, and long enough to have a header " * 4)
    with pytest.raises(SpecError, match=r"MLflow at sqlite:///.*mlflow\.db: .*not a database"):
        server.serve(tmp_path, None, 5001)


@pytest.mark.slow
def test_the_pages_start_and_stop(runs, port):
    process = fresh("sys.exit(serve(Path(sys.argv[1]), None, int(sys.argv[2])))", runs, port)
    for _ in range(240):
        time.sleep(0.5)
        try:
            answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/")
            break
        except OSError:
            continue
    os.kill(process.pid, signal.SIGTERM)
    process.communicate()
    assert answer.status == 200
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("uri", "start"),
    [
        (None, "MLflow, while `ablate ui` is open: http://127.0.0.1:5000/#/experiments/1/runs?"),
        ("http://me:secret@there:1/", "MLflow: http://there:1/#/experiments/1/runs?"),
    ],
)
def test_the_link_is_one_short_line_where_there_is_something_to_see(runs, uri, start):
    tracker = Tracker(runs, uri)
    assert tracker.link() is None  # nothing was sent
    tracker._place = "1"
    link = tracker.link()
    assert link.startswith(start)
    assert "secret" not in link
    assert len(link) < 150
    tracker.problem = "it is down"
    assert tracker.link() is None
