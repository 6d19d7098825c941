"""MLflow's own pages in a real browser: what `run` sent is there to be read, and its link leads to the FIDs."""

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
seeds: [0, 1]
set: {network.width: 8, network.attention: []}
plan:
  - list: [{label: small c, set: {metric.c: 0.01}}, {label: large c, set: {metric.c: 1.0}}]
  - list: [{label: l1, set: {metric: l1}}]
claims: [{id: c, says: a small c is better, better: {row: small c}, worse: {row: large c}}]
"""
BUDGET = ["images=2048", "batch=16", "evaluation.samples=64", "evaluation.every=512"]
LABELS = ("small c", "large c", "l1")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An experiment of three rows that has run, and what `run` said."""
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
        if (sent["tags"].get("row"), sent["tags"].get("seed")) == (label, "0"):
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


SECONDS = 10  # until a person has read rows and FIDs


def shown_fids(place):
    """Row, seed, FID at one and at two steps of every cell as MLflow's table shows them, the lowest first."""
    records = [json.loads(file.read_text()) for file in place.glob("runs/*/record.json")]
    rows = {
        json.loads(file.read_text())["key"]: run["tags"]["row"]
        for file in place.glob("runs/*/config.json")
        for run in json.loads((file.parent / "mlflow.json").read_text()).values()
    }
    fids = [
        (
            rows[r["key"]],
            str(r["seed"]),
            *(next(f["value"] for f in r["fid"] if f["nfe"] == n) for n in (1, 2)),
        )
        for r in records
    ]
    return sorted(fids, key=lambda entry: entry[2])


def read(page):  # noqa: F811
    """The cells of MLflow's table, a tuple for each line."""
    columns = ["tags.`row`", "tags.`seed`", "metrics.`fid_1step`", "metrics.`fid_2step`"]
    page.locator(f'.ag-row [col-id="{columns[-1]}"]').first.wait_for(state="visible")
    cells = [page.locator(f'.ag-row [col-id="{column}"]').all() for column in columns]
    found = [
        tuple(cell.inner_text().strip() for cell in line)
        for line in sorted(zip(*cells, strict=True), key=lambda line: line[0].bounding_box()["y"])
    ]
    return [(row, seed, float(one), float(two)) for row, seed, one, two in found]


def addresses(place, address):
    """What `ui` and `run` print, at this server."""
    (printed,) = re.findall(r"^pages: (\S+)$", (place / "server.txt").read_text(), re.MULTILINE)
    (linked,) = re.findall(
        r"MLflow.*: http://127.0.0.1:5000(/\S+)$", (place / "said.txt").read_text(), re.MULTILINE
    )
    return {"ui": printed, "run": address + linked}


@pytest.mark.parametrize("of", ["ui", "run"])
def test_rows_and_fids_are_read_within_ten_seconds(page, place, address, of):  # noqa: F811
    began = time.monotonic()
    page.goto(addresses(place, address)[of])
    found = read(page)
    assert time.monotonic() - began < SECONDS
    expected = shown_fids(place)
    assert [entry[:2] for entry in found] == [entry[:2] for entry in expected]
    for (_, _, *seen), (_, _, *known) in zip(found, expected, strict=True):
        assert seen == pytest.approx(known, rel=1e-3)
    right = page.locator('.ag-header-cell[col-id="metrics.`fid_2step`"]').bounding_box()
    assert right["x"] + right["width"] <= page.viewport_size["width"]  # nobody has to scroll
    see(page, place, f"list_{of}", "a small c is better", *LABELS)


def test_charts_open_with_fid_over_images(page, place, address):  # noqa: F811
    page.goto(addresses(place, address)["run"] + "&compareRunsMode=CHART")
    see(page, place, "charts", "FID over images", "l1 · seed 0")
    page.locator(".js-plotly-plot .scatterlayer .trace").nth(11).wait_for(
        state="attached"
    )  # a line for each cell
    assert page.locator(".js-plotly-plot").count() == 2
    assert not page.locator(".js-plotly-plot .barlayer .trace").count()


def test_the_experiments_list_is_flat_without_the_view_too(page, place, address):  # noqa: F811
    page.goto(f"{address}/#/experiments/1/runs?workflowType=machine_learning")
    see(page, place, "plain", *(f"{label} · seed {seed}" for label in LABELS for seed in (0, 1)), "digits")


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
