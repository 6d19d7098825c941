"""Disks that are full, folders that vanish, a second Ctrl-C: one clear line, and what was recorded stays."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time

import pytest
from helpers.cli import call, command, once, wait_for
from helpers.processes import workers

from ablate.planning import planner

FILE = """
name: two
set: {network.width: 8, network.attention: []}
plan: [{grid: {metric.c: [0.01, 0.1]}}]
"""
BUDGET = {"profile.images": 512, "profile.batch": 16, "profile.evaluation.samples": 64}
LONG = {**BUDGET, "profile.images": 2_000_000}


def words(budget):
    sets = [part for k, v in budget.items() for part in ("--set", f"{k}={v}")]
    return ["run", "two.yaml", "--no-doctor", "--workers", "1", *sets]


def line(budget):
    return command(*words(budget))


def trained(place):
    """What a cell in training has logged."""
    return list((place / "runs").glob("*/metrics.jsonl"))


@pytest.fixture
def place(tmp_path, warmed):
    (tmp_path / "two.yaml").write_text(FILE)
    return warmed(tmp_path)


def small_disk(place, kilobytes, *arguments):
    """Run with `runs` on a disk of its own that has so much room left, to which and from which it is copied."""
    used = sum(-(-p.stat().st_size // 4096) * 4 + 4 for p in (place / "runs").rglob("*"))
    script = (
        f"set -e; mkdir disk; mount -t tmpfs -o size={used + kilobytes}k none disk; cp -a runs/. disk/;"
        'code=0; "$@" --runs-dir disk || code=$?; cp -a disk/. runs/; exit $code'
    )
    inside = ["unshare", "--mount", "bash", "-c", script, "bash", *arguments]
    return subprocess.run(inside, cwd=place, capture_output=True, text=True, check=False)


def can_mount():
    probe = ["unshare", "--mount", "bash", "-c", "mount -t tmpfs none /mnt"]
    return (
        bool(shutil.which("unshare"))
        and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="a small disk needs the right to mount one")
def test_a_full_disk_is_one_line_and_what_was_recorded_stays(place):
    first, second = planner.load(place / "two.yaml", overrides=BUDGET).cells.values()
    only = ["--set", "metric.c=0.01"]
    assert subprocess.run([*line(BUDGET), *only], cwd=place, capture_output=True, check=False).returncode == 0
    before = (place / "runs" / first.key / "record.json").read_bytes()
    done = small_disk(place, 200, *line(BUDGET), "--tracking-uri", f"sqlite:///{place}/runs/mlflow.db")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no space left on device" in (done.stdout + done.stderr).lower()
    assert "Traceback" not in done.stdout + done.stderr
    assert (place / "runs" / first.key / "record.json").read_bytes() == before
    assert not (place / "runs" / second.key / "record.json").exists()
    again = subprocess.run([*line(BUDGET), "--json"], cwd=place, capture_output=True, text=True, check=False)
    assert (again.returncode, json.loads(again.stdout)["computed"]) == (0, [second.key])


def started(place, budget=LONG):
    """A run whose first cell is in training."""
    process = subprocess.Popen(
        line(budget), cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: trained(place) or process.poll() is not None)
    assert process.poll() is None
    return process


def test_a_runs_directory_that_vanishes_is_one_line(place):
    def vanish():
        for _ in range(50):  # a worker may write into it meanwhile
            shutil.rmtree(place / "runs", ignore_errors=True)
            if not (place / "runs").exists():
                break

    with once(lambda: trained(place), vanish):
        done = call(*words(LONG), cwd=place)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{place}/runs" in done.stderr
    assert " is gone" in done.stderr


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once(place):
    process = started(place)
    (worker,) = workers(process.pid)
    worker.suspend()  # as if its device never answered: it cannot save
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    assert process.poll() is None  # it waits for the checkpoint
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in error
    worker.wait(timeout=10)
