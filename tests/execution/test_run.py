"""The main job end to end, on the real digits, in seconds: a tiny network, a tiny budget."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.cli import Done, call, command, once, wait_for

from ablate.core.files import read_json
from ablate.core.registry import AXES
from ablate.runs.store import restore

EXPERIMENT = """
name: tiny
seeds: [0]
set: {network.width: 8, network.multipliers: [1], network.attention: []}
plan:
  - list:
      - {label: ict}
      - {label: l1, set: {metric: l1}}
      - {label: again}
      - {label: overflow, set: {precision.inputs: float16, levels.sigma_max: 70000.0, noise: uniform}}
"""
BUDGET = [
    "--no-doctor",
    "--set",
    "profile.images=512",
    "--set",
    "profile.batch=16",
    "--set",
    "profile.evaluation.samples=64",
]


def run(place: Path, file: str, *arguments: str) -> Done:
    """`run FILE` with a small budget, in this process; its workers are processes."""
    return call("run", file, *BUDGET, *arguments, cwd=place)


def records(runs: Path) -> dict[str, dict]:
    """Records by key, without wall times and the state of the checkout, which may change meanwhile."""
    found = {p.parent.name: json.loads(p.read_text()) for p in sorted(runs.glob("*/record.json"))}
    for record in found.values():
        del record["wall_s"], record["provenance"]["commit"], record["provenance"]["dirty"]
    return found


def recipe(place: Path, key: str) -> dict:
    """The recipe of a cell, flat: field -> value."""
    return restore(read_json(place / "runs" / key / "config.json")).recipe.flat()


@pytest.fixture(scope="module")
def place(tmp_path_factory, warmed):
    """An experiment that has run once."""
    place = warmed(tmp_path_factory.mktemp("run"))
    (place / "tiny.yaml").write_text(EXPERIMENT)
    done = run(place, "tiny.yaml", "--json")
    assert done.returncode == 0, done.stderr
    (place / "answer.json").write_text(done.stdout)
    return place


@pytest.fixture
def fresh(tmp_path, warmed):
    """A folder of its own."""
    return warmed(tmp_path)


def test_every_cell_ends_in_a_record_and_equal_ones_are_computed_once(place):
    answer = json.loads((place / "answer.json").read_text())
    assert len(answer["computed"]) == 3
    assert sorted(answer["states"].values()) == ["diverged", "finished", "finished"]


def test_a_record_says_what_was_measured_and_how(place):
    record = next(r for k, r in records(place / "runs").items() if recipe(place, k)["metric"] == "l1")
    assert recipe(place, record["key"])["optimizer.lr"] == 0.002
    assert (record["profile"], record["seed"], record["images"]) == ("digits", 0, 512)
    assert [f["nfe"] for f in record["fid"]] == [1, 2]
    assert [f["sigmas"] for f in record["fid"]] == [[80.0], [80.0, 0.821]]
    whole = json.loads((place / "runs" / record["key"] / "record.json").read_text())
    for entry in record["fid"]:
        assert entry["extractor"].startswith("classifier-")
        assert (entry["n"], entry["weights"]) == (64, "ema")
        assert entry["value"] > record["floor"]["fid"]
    assert {"commit", "dirty", "versions", "device"} <= set(whole["provenance"])


def test_the_report_has_a_line_for_every_row(place):
    lines = (place / "reports" / "tiny" / "table.csv").read_text().splitlines()
    assert lines[0].startswith("row,n,fid_1step,fid_1step_std,fid_2step,fid_2step_std,")
    assert [line.split(",")[0] for line in lines[1:]] == ["ict", "l1", "again", "overflow"]
    page = (place / "reports" / "tiny" / "table.md").read_text()
    assert "classifier-" in page
    assert "diverged (step 1)" in page
    for name in ("fid.png", "samples.png"):
        assert (place / "reports" / "tiny" / name).read_bytes().startswith(b"\x89PNG")


def test_a_loss_that_is_not_finite_ends_the_cell_at_a_named_step(place):
    """A level of 70,000 is infinite in float16."""
    record = next(
        r for k, r in records(place / "runs").items() if recipe(place, k)["precision.inputs"] == "float16"
    )
    assert record["state"] == "diverged"
    assert record["reason"] == "the loss is not finite at step 1"
    assert record["fid"] == []


def test_a_finished_table_costs_nothing(place):
    before = {p: p.stat().st_mtime_ns for p in (place / "runs").glob("*/*.json")}
    assert json.loads(run(place, "tiny.yaml", "--json").stdout)["computed"] == []
    assert before == {p: p.stat().st_mtime_ns for p in (place / "runs").glob("*/*.json")}


def test_mlflow_has_every_cell_with_its_fields_and_results(place):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{place}/runs/mlflow.db")
    found = client.search_runs([e.experiment_id for e in client.search_experiments() if e.name == "tiny"])
    cells = [r for r in found if "metric" in r.data.params]  # not the run of the experiment itself
    assert len(cells) == 3
    assert len(found) == 4
    done = next(r for r in cells if r.data.params["metric"] == "l1")
    assert done.info.status == "FINISHED"
    assert {"loss", "N", "fid_1step", "fid_2step"} <= set(done.data.metrics)


def test_dry_run_trains_nothing(place, tmp_path):
    said = run(tmp_path, str(place / "tiny.yaml"), "--dry-run").stdout
    assert "3 cells" in said
    assert "nothing was trained" in said
    assert not (tmp_path / "runs").exists()


def test_a_sample_grid_of_a_finished_cell(place):
    key = next(k for k, r in records(place / "runs").items() if r["state"] == "finished")
    done = call("sample", key[:6], "-n", "4", "--sigmas", "0.821", "--out", "out/four.png", cwd=place)
    assert done.stdout.strip() == "out/four.png"
    assert (place / "out" / "four.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def _plugins(monkeypatch):
    """Forget afterwards what an experiment imported."""
    monkeypatch.setattr(AXES["metric"], "options", dict(AXES["metric"].options))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("broken_option", None)


@pytest.mark.usefixtures("_plugins")
def test_a_cell_that_fails_stops_no_other_and_has_its_reason(fresh):
    (fresh / "broken_option.py").write_text(
        "from dataclasses import dataclass\nimport ablate\n"
        "@ablate.AXES['metric']('broken')\n@dataclass(frozen=True)\nclass Broken:\n"
        "    '''Fails.'''\n    def __call__(self, x, y):\n        raise RuntimeError('as it should')\n"
    )
    (fresh / "two.yaml").write_text(
        EXPERIMENT.split("plan:")[0].replace("tiny", "two")
        + "imports: [broken_option]\nplan: [{grid: {metric: [broken, l1]}}]"
    )
    done = run(fresh, "two.yaml", "--json")
    assert done.returncode == 1, done.stderr
    states = json.loads(done.stdout)["states"]
    assert sorted(states.values()) == ["failed", "finished"]
    failed = fresh / "runs" / next(k for k, s in states.items() if s == "failed")
    assert json.loads((failed / "record.json").read_text())["reason"].endswith("as it should")
    assert "Traceback" in (failed / "log.txt").read_text()
    assert json.loads(run(fresh, "two.yaml", "--json").stdout)["computed"] == []


@pytest.mark.slow
def test_two_runs_at_the_same_time_share_the_cells(fresh):
    """One run is a process of its own; the other begins while that one trains its first cell."""
    (fresh / "tiny.yaml").write_text(EXPERIMENT.replace("[0]", "[0, 1]"))
    options = ["--json", "--workers", "1", "--reports-dir"]
    line = command("run", "tiny.yaml", *BUDGET, *options, "one")
    other = subprocess.Popen(line, cwd=fresh, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: list((fresh / "runs").glob("*/metrics.jsonl")))
    second = json.loads(run(fresh, "tiny.yaml", *options, "two").stdout)
    first = json.loads(other.communicate(timeout=200)[0])
    assert first["states"] == second["states"]
    assert len(first["states"]) == 6
    assert sorted(first["computed"] + second["computed"]) == sorted(first["states"])


KILL = "name: kill\nset: {network.width: 8, network.attention: []}\nplan: [{list: [{label: a}]}]\n"
LONGER = ["--set", "profile.images=2400", "--set", "profile.checkpoint_every=160"]


@pytest.fixture(scope="module")
def undisturbed(place):
    """The records of a run that nothing disturbs."""
    (place / "kill.yaml").write_text(KILL)
    assert run(place, "kill.yaml", *LONGER).returncode == 0
    return records(place / "runs")


@pytest.fixture
def kill(fresh):
    """A folder with an experiment of one cell."""
    (fresh / "kill.yaml").write_text(KILL)
    return fresh


def saved_twice(place: Path) -> list[Path]:
    return list((place / "runs").glob("*/checkpoint.previous.pt"))


def ends_as_undisturbed(place: Path, undisturbed: dict[str, dict]) -> None:
    """The next run resumes from the checkpoint and ends in the same record, bit by bit."""
    assert not list((place / "runs").glob("*/record.json"))
    assert run(place, "kill.yaml", *LONGER).returncode == 0
    ((key, record),) = records(place / "runs").items()
    assert record == undisturbed[key]
    assert "from step" in (place / "runs" / key / "log.txt").read_text()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_saves_and_the_next_ends_in_the_same_record(how, kill, undisturbed):
    """A real signal in the middle of a training, to this process, in which the command runs."""
    with once(lambda: saved_twice(kill), lambda: os.kill(os.getpid(), how)):
        assert run(kill, "kill.yaml", *LONGER).returncode == 130
    (state,) = (kill / "runs").glob("*/state.json")
    assert json.loads(state.read_text())["state"] == "interrupted"
    ends_as_undisturbed(kill, undisturbed)


def test_a_killed_run_resumes_and_ends_in_the_same_record(kill, undisturbed):
    """kill -9 of the process, its workers and their server."""
    line = command("run", "kill.yaml", *BUDGET, *LONGER)
    parent = subprocess.Popen(line, cwd=kill, start_new_session=True, stderr=subprocess.PIPE)
    wait_for(lambda: saved_twice(kill))
    for file in (kill / "runs").glob("*/pid"):
        os.kill(int(file.read_text()), signal.SIGKILL)
    os.killpg(parent.pid, signal.SIGKILL)
    parent.wait(30)
    ends_as_undisturbed(kill, undisturbed)


def test_a_worker_that_dies_is_restarted_from_its_checkpoint(kill, undisturbed):
    """kill -9 of a worker alone: the run continues, and its record is the undisturbed one."""

    def shoot() -> None:
        (pid,) = (kill / "runs").glob("*/pid")
        os.kill(int(pid.read_text()), signal.SIGKILL)

    with once(lambda: saved_twice(kill), shoot):
        assert run(kill, "kill.yaml", *LONGER).returncode == 0
    ((key, record),) = records(kill / "runs").items()
    assert record == undisturbed[key]
    assert json.loads((kill / "runs" / key / "state.json").read_text())["crashes"] == 1
