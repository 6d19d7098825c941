"""MLflow's own pages in a real browser: what `run` sent is there to be read, and its link leads to a comparison."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from browser import chromium, page  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FILE = """
name: pages
set: {network.width: 8, network.attention: []}
plan:
  - list: [{label: small c, set: {metric.c: 0.01}}, {label: large c, set: {metric.c: 1.0}}]
  - list: [{label: l1, set: {metric: l1}}]
"""
BUDGET = ["images=2048", "batch=16", "evaluation.samples=64", "evaluation.every=512"]
LABELS = ("small c", "large c", "l1")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An experiment of three cells that has run, and what `run` said."""
    place = tmp_path_factory.mktemp("pages")
    (place / "pages.yaml").write_text(FILE)
    sets = [part for pair in BUDGET for part in ("--set", f"profile.{pair}")]
    command = [sys.executable, "-m", "ablate", "run", "pages.yaml", "--no-doctor", "--workers", "1", *sets]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (place / "said.txt").write_text(done.stdout)
    return place


@pytest.fixture(scope="module")
def address(place):
    """Where `ablate ui` serves it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ablate", "ui", "--port", str(port)]
    with (place / "server.txt").open("w") as log:
        server = subprocess.Popen(command, cwd=place, stdout=log, stderr=log, start_new_session=True)
    for _ in range(400):
        time.sleep(0.5)
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
            break
        except OSError:
            assert server.poll() is None, (place / "server.txt").read_text()
    yield f"http://127.0.0.1:{port}"
    os.kill(server.pid, signal.SIGTERM)
    server.wait()


def link(place, address):
    """The comparison that `run` printed, on this server's port."""
    printed = re.search(r"http://127.0.0.1:5000(/#/compare-runs\S+)", (place / "said.txt").read_text())
    return address + printed[1]


def run_of(place, label):
    """MLflow's id of a row's run."""
    for file in place.glob("runs/*/mlflow.json"):
        (sent,) = json.loads(file.read_text()).values()
        if sent["tags"]["row"] == label:
            return sent["run"]
    raise AssertionError(label)


def see(shown, place, name, *texts):
    """Wait for texts, then keep a picture of the page in the test's folder."""
    for text in texts:
        shown.get_by_text(text, exact=False).first.wait_for(state="visible")
    shown.wait_for_timeout(1500)  # charts draw themselves
    shown.screenshot(path=place / f"{name}.png", full_page=True)


def test_the_runs_stand_under_their_experiment(page, place, address):  # noqa: F811
    page.goto(f"{address}/#/experiments/1")
    see(page, place, "list", "pages", *(f"{label} · seed 0" for label in LABELS))


def test_three_rows_are_compared_at_the_printed_link(page, place, address):  # noqa: F811
    page.goto(link(place, address))
    see(page, place, "compare", *(f"{label} · seed 0" for label in LABELS), "fid_1step", "metric.c")


def test_a_run_shows_its_numbers(page, place, address):  # noqa: F811
    page.goto(f"{address}/#/experiments/1/runs/{run_of(place, 'l1')}")
    see(page, place, "run", "l1 · seed 0", "fid_1step", "metric")


def test_a_run_shows_its_curves(page, place, address):  # noqa: F811
    page.goto(f"{address}/#/experiments/1/runs/{run_of(place, 'l1')}/model-metrics")
    see(page, place, "curves", "fid_1step", "loss", "samples_1step")


def test_a_run_shows_what_its_worker_used(page, place, address):  # noqa: F811
    page.goto(f"{address}/#/experiments/1/runs/{run_of(place, 'l1')}/system-metrics")
    see(page, place, "system", "cpu_utilization_percentage", "system_memory_usage_megabytes")


def test_a_run_has_its_files(page, place, address):  # noqa: F811
    page.goto(f"{address}/#/experiments/1/runs/{run_of(place, 'l1')}/artifacts")
    see(page, place, "files", "record.json", "samples")
