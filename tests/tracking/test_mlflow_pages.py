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
from helpers.browser import chromium, page  # noqa: F401

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
    shown.screenshot(path=place / f"{name}.png")


@pytest.fixture
def tab(page, place, address):  # noqa: F811
    """Opens a tab of the row l1's run."""
    run = run_of(place, "l1")
    return lambda name: page.goto(
        f"{address}/#/experiments/1/runs/{run}/{name}?workflowType=machine_learning"
    )


def test_the_runs_stand_under_their_experiment_at_the_printed_address(page, place, address):  # noqa: F811
    (printed,) = re.findall(r"^pages: (\S+)$", (place / "server.txt").read_text(), re.MULTILINE)
    page.goto(printed)
    page.get_by_text("matching runs").wait_for()
    page.locator(".ag-row button").first.click()  # the experiment's own run, which holds the cells
    see(page, place, "list", *(f"{label} · seed 0" for label in LABELS))


def test_three_rows_are_compared_at_the_printed_link(page, place, address):  # noqa: F811
    printed = re.search(r"http://127.0.0.1:5000(/#/compare-runs\S+)", (place / "said.txt").read_text())
    page.goto(address + printed[1])
    see(page, place, "compare", *(f"{label} · seed 0" for label in LABELS), "metric.c", "Comparing 3 Runs")


def test_a_run_shows_its_numbers(page, place, tab):  # noqa: F811
    tab("")
    see(page, place, "run", "l1 · seed 0", "Finished", "digits", "ablate.key")


def test_a_run_shows_its_curves_and_those_of_levels_apart(page, place, tab):  # noqa: F811
    page.set_viewport_size({"width": 1400, "height": 5000})  # what is out of sight is not drawn
    tab("model-metrics")
    see(page, place, "curves", "Model metrics", "fid_1step", "levels")
    page.get_by_placeholder("Search metric charts").fill("loss$")
    see(page, place, "loss", "l1 · seed 0 (loss)")


def test_a_run_shows_its_samples_over_images_seen(page, place, tab):  # noqa: F811
    tab("model-metrics")
    page.get_by_placeholder("Search metric charts").fill("samples_1step")
    slider = page.get_by_role("slider").first
    slider.focus()
    seen = []
    for images in (512, 1024, 1536, 2048):
        page.keyboard.press("ArrowRight")
        page.locator(f"img[src*='samples_1step%2Bstep%2B{images}%2B']").first.wait_for(state="attached")
        seen.append(int(slider.get_attribute("aria-valuenow")))
    assert seen == [512, 1024, 1536, 2048]
    see(page, place, "samples", "samples_1step")


def test_a_run_shows_what_its_worker_used(page, place, tab):  # noqa: F811
    tab("system-metrics")
    see(page, place, "system", "cpu_utilization_perce", "system_memory_usa")


def test_a_run_has_its_files(page, place, tab):  # noqa: F811
    tab("artifacts")
    see(page, place, "files", "record.json", "metrics.jsonl", "samples")
