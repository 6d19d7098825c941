"""A sweep that is killed again and again ends as one that nobody disturbed. ABLATE_KILLS says how often (50)."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from helpers.processes import workers

FILE = """
name: sweep
seeds: [0, 1]
set: {network.width: 8, network.attention: []}
plan:
  - grid: {metric.c: [0.001, 0.01, 0.1], noise.p_mean: [-1.1, 0.0]}
"""
BUDGET = ["profile.images=16000", "profile.checkpoint_every=320", "profile.evaluation.samples=200"]
KILLS = int(os.environ.get("ABLATE_KILLS", "50"))


def command(place):
    sets = [part for pair in BUDGET for part in ("--set", pair)]
    return [
        sys.executable,
        "-m",
        "ablate",
        "run",
        "sweep.yaml",
        "--no-doctor",
        "--workers",
        "2",
        "--retries",
        "9",
        *sets,
    ]


def begin(place):
    log = (place / "log.txt").open("a")
    return subprocess.Popen(command(place), cwd=place, stdout=log, stderr=log, start_new_session=True)


def records(place):
    """Records without wall times, and without the state of the checkout, which somebody may change meanwhile."""
    found = {p.parent.name: json.loads(p.read_text()) for p in sorted((place / "runs").glob("*/record.json"))}
    for record in found.values():
        del record["wall_s"], record["provenance"]["commit"], record["provenance"]["dirty"]
    return found


def table(place):
    """The table without its times."""
    with (place / "reports" / "sweep" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if "wall" not in k and "hours" not in k} for row in rows]


def disturb(process, draw):
    """Kill or terminate the parent or one worker; what was done."""
    number = draw.choice([signal.SIGKILL, signal.SIGTERM])
    wanted, deadline, candidates = draw.random() < 0.5, time.monotonic() + 10, []
    while wanted and not candidates and time.monotonic() < deadline and process.poll() is None:
        candidates = [w.pid for w in workers(process.pid)]
    victim = draw.choice(candidates) if candidates else process.pid
    try:
        os.kill(victim, number)
    except ProcessLookupError:
        return None
    return "parent" if victim == process.pid else "worker", signal.Signals(number).name


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_sweep_survives_kills_at_any_moment(tmp_path):
    draw, calm, wild = random.Random(0), tmp_path / "calm", tmp_path / "wild"
    for place in (calm, wild):
        place.mkdir()
        (place / "sweep.yaml").write_text(FILE)
    assert begin(calm).wait() == 0
    written, done, process = {}, [], begin(wild)
    while len(done) < KILLS:
        time.sleep(draw.uniform(0.0, 6.0))
        if process.poll() is not None:
            if process.returncode == 0:
                break
            process = begin(wild)
            continue
        done += [d for d in [disturb(process, draw)] if d]
        for key, record in records(wild).items():  # never computed to its end twice
            stat = (wild / "runs" / key / "record.json").stat().st_mtime_ns
            assert written.setdefault(key, (stat, record)) == (stat, record)
        if done[-1][0] == "parent":
            process.wait()
            process = begin(wild)
    process.wait()
    assert begin(wild).wait() == 0, (wild / "log.txt").read_text()[-3000:]
    print(len(done), "kills:", {d: done.count(d) for d in sorted(set(done))})
    assert len(records(calm)) == 12
    assert records(wild) == records(calm)
    assert table(wild) == table(calm)
    with sqlite3.connect(wild / "runs" / "mlflow.db") as store:
        states = dict(
            store.execute("select status, count(*) from runs where lifecycle_stage = 'active' group by 1")
        )
    assert states == {"FINISHED": 13}  # a run for each cell, and the experiment's own
    assert len(done) >= KILLS or not KILLS, f"the sweep ended after {len(done)} kills"
