"""The main job end to end, on the real digits, in seconds: a tiny network, a tiny budget."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXPERIMENT = """
name: tiny
seeds: [0]
set: {network.width: 8, network.attention: []}
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


def ablate(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ablate", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def records(runs: Path) -> dict[str, dict]:
    found = {p.parent.name: json.loads(p.read_text()) for p in sorted(runs.glob("*/record.json"))}
    for record in found.values():
        record.pop("wall_s")
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An experiment that has run once."""
    place = tmp_path_factory.mktemp("run")
    (place / "tiny.yaml").write_text(EXPERIMENT)
    place.joinpath("told.json").write_text(ablate("run", "tiny.yaml", *BUDGET, "--json", cwd=place).stdout)
    return place


@pytest.fixture
def fresh(place, tmp_path):
    """A folder of its own that shares what costs seconds to make: the extractor and the MLflow store."""
    shutil.copytree(place / "runs" / "cache", tmp_path / "runs" / "cache")
    return tmp_path, ["--tracking-uri", f"sqlite:///{place}/runs/mlflow.db"]


def test_every_cell_ends_in_a_record_and_equal_ones_are_computed_once(place):
    told = json.loads((place / "told.json").read_text())
    assert len(told["computed"]) == 3
    assert len(told["states"]) == 3
    assert sorted(told["states"].values()) == ["diverged", "finished", "finished"]


def test_a_record_says_what_was_measured_and_how(place):
    record = next(r for r in records(place / "runs").values() if r["recipe"]["metric"] == "l1")
    assert record["recipe"]["optimizer.lr"] == 0.002
    assert (record["profile"], record["seed"], record["images"]) == ("digits", 0, 512)
    assert [f["nfe"] for f in record["fid"]] == [1, 2]
    assert [f["sigmas"] for f in record["fid"]] == [[80.0], [80.0, 0.821]]
    for entry in record["fid"]:
        assert entry["extractor"].startswith("classifier-")
        assert (entry["n"], entry["weights"]) == (64, "ema")
        assert entry["value"] > record["floor"]["fid"]
    assert {"commit", "versions", "device"} <= set(record["provenance"])


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
    record = next(r for r in records(place / "runs").values() if r["recipe"]["precision.inputs"] == "float16")
    assert record["state"] == "diverged"
    assert record["reason"] == "the loss is not finite at step 1"
    assert record["fid"] == []


def test_a_finished_table_costs_nothing(place):
    before = {p: p.stat().st_mtime_ns for p in (place / "runs").glob("*/*.json")}
    told = json.loads(ablate("run", "tiny.yaml", *BUDGET, "--json", cwd=place).stdout)
    assert told["computed"] == []
    assert before == {p: p.stat().st_mtime_ns for p in (place / "runs").glob("*/*.json")}


def test_mlflow_has_every_cell_with_its_fields_and_results(place):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{place}/runs/mlflow.db")
    found = client.search_runs([e.experiment_id for e in client.search_experiments() if e.name == "tiny"])
    cells = [r for r in found if "mlflow.parentRunId" in r.data.tags]
    assert len(cells) == 3
    assert len(found) == 4
    done = next(r for r in cells if r.data.params["metric"] == "l1")
    assert done.info.status == "FINISHED"
    assert {"loss", "N", "fid_1step", "fid_2step"} <= set(done.data.metrics)


def test_dry_run_trains_nothing(place, tmp_path):
    said = ablate("run", str(place / "tiny.yaml"), *BUDGET, "--dry-run", cwd=tmp_path).stdout
    assert "3 cells" in said
    assert "nothing was trained" in said
    assert not (tmp_path / "runs").exists()


def test_a_sample_sheet_of_a_finished_cell(place):
    key = next(k for k, r in records(place / "runs").items() if r["state"] == "finished")
    out = ablate("sample", key[:6], "-n", "4", "--sigmas", "0.821", "--out", "out/four.png", cwd=place).stdout
    assert out.strip() == "out/four.png"
    assert (place / "out" / "four.png").read_bytes().startswith(b"\x89PNG")


def test_a_cell_that_fails_stops_nothing_and_is_told(fresh):
    tmp_path, uri = fresh
    (tmp_path / "broken_option.py").write_text(
        "from dataclasses import dataclass\nimport ablate\n"
        "@ablate.AXES['metric']('broken')\n@dataclass(frozen=True)\nclass Broken:\n"
        "    '''Fails.'''\n    def __call__(self, x, y):\n        raise RuntimeError('as it should')\n"
    )
    (tmp_path / "two.yaml").write_text(
        EXPERIMENT.split("plan:")[0].replace("tiny", "two")
        + "imports: [broken_option]\nplan: [{grid: {metric: [broken, l1]}}]"
    )
    done = ablate("run", "two.yaml", *BUDGET, *uri, "--json", cwd=tmp_path, check=False)
    assert done.returncode == 1, done.stderr
    states = json.loads(done.stdout)["states"]
    assert sorted(states.values()) == ["failed", "finished"]
    failed = next(k for k, s in states.items() if s == "failed")
    assert json.loads((tmp_path / "runs" / failed / "record.json").read_text())["reason"].endswith(
        "as it should"
    )
    assert "Traceback" in (tmp_path / "runs" / failed / "log.txt").read_text()
    again = json.loads(ablate("run", "two.yaml", *BUDGET, *uri, "--json", cwd=tmp_path, check=False).stdout)
    assert again["computed"] == []


def test_two_runs_at_the_same_time_share_the_cells(fresh):
    tmp_path, uri = fresh
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT.replace("[0]", "[0, 1]"))
    command = [sys.executable, "-m", "ablate", "run", "tiny.yaml", *BUDGET, *uri, "--json", "--workers", "1"]
    reports = [["--reports-dir", name] for name in ("one", "two")]
    both = [
        subprocess.Popen([*command, *r], cwd=tmp_path, stdout=subprocess.PIPE, text=True) for r in reports
    ]
    told = [json.loads(process.communicate(timeout=200)[0]) for process in both]
    assert told[0]["states"] == told[1]["states"]
    assert len(told[0]["states"]) == 6
    assert sorted(told[0]["computed"] + told[1]["computed"]) == sorted(told[0]["states"])


KILL = "name: kill\nset: {network.width: 8, network.attention: []}\nplan: [{list: [{label: a}]}]\n"
KILL_BUDGET = [*BUDGET, "--set", "profile.images=2400", "--set", "profile.checkpoint_every=160"]


@pytest.fixture(scope="module")
def undisturbed(place):
    """The records of a run that nothing disturbs."""
    (place / "kill.yaml").write_text(KILL)
    ablate("run", "kill.yaml", *KILL_BUDGET, cwd=place)
    return records(place / "runs")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_goes_on_and_ends_in_the_same_record(how, fresh, undisturbed):
    """Killed in the middle, the next run continues from the checkpoint, bit by bit."""
    tmp_path, uri = fresh
    (tmp_path / "kill.yaml").write_text(KILL)
    command = [sys.executable, "-m", "ablate", "run", "kill.yaml", *KILL_BUDGET, *uri]
    parent = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "runs").glob("*/checkpoint.previous.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    if how != signal.SIGKILL:  # the parent asks its workers to save and stop
        parent.send_signal(how)
        assert parent.wait(60) == 130
        (state,) = (tmp_path / "runs").glob("*/state.json")
        assert json.loads(state.read_text())["state"] == "interrupted"
    else:
        for folder in (tmp_path / "runs").glob("*/pid"):
            os.kill(int(folder.read_text()), signal.SIGKILL)
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait(30)
    assert not list((tmp_path / "runs").glob("*/record.json"))
    ablate("run", "kill.yaml", *KILL_BUDGET, *uri, cwd=tmp_path)
    ((key, record),) = records(tmp_path / "runs").items()
    assert record == undisturbed[key]
    assert "goes on from step" in (tmp_path / "runs" / key / "log.txt").read_text()


def test_a_worker_that_dies_is_begun_again_from_its_checkpoint(fresh, undisturbed):
    """kill -9 of a worker alone: the run goes on, and its record is the undisturbed one."""
    tmp_path, uri = fresh
    (tmp_path / "kill.yaml").write_text(KILL)
    command = [sys.executable, "-m", "ablate", "run", "kill.yaml", *KILL_BUDGET, *uri]
    parent = subprocess.Popen(command, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "runs").glob("*/checkpoint.previous.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    (pid,) = (tmp_path / "runs").glob("*/pid")
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert parent.wait(100) == 0
    ((key, record),) = records(tmp_path / "runs").items()
    assert record == undisturbed[key]
    assert json.loads((tmp_path / "runs" / key / "state.json").read_text())["crashes"] == 1
