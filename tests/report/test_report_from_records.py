"""`report --from` a records file where the images, and all cells, are gone: the records say which images they were."""

from __future__ import annotations

import shutil

import pytest
from helpers.cli import call
from helpers.layers import PACKAGE
from helpers.pictures import classes, spread, zipped
from helpers.recorded import put

from ablate.planning import planner
from ablate.runs.store import Store, complete

pytestmark = pytest.mark.usefixtures("two_figures")

FILE = """
name: own
profile: tiny.yaml
seeds: [0, 1]
plan: [{list: [{label: plain}, {label: wide, set: {metric.c: 0.1}}]}]
"""
REPORTS = PACKAGE.parent / "reports"


def made(place, name, channels, **data):
    """A project whose images are gone and whose runs are gone, with the report of all its cells."""
    lines = ", ".join(f"{k}: {v}" for k, v in {"name": name, **data}.items())
    (place / "own.yaml").write_text(FILE)
    (place / "tiny.yaml").write_text(
        f"name: tiny\ndata: {{{lines}}}\nbatch: 8\nimages: 320\nevaluation: {{samples: 16}}\n"
    )
    files = classes("a", "b", channels=channels)
    spread(place / "pics", files) if name == "folder" else zipped(place / "pics", files)
    store = Store(place / "runs")
    for i, cell in enumerate(planner.load(place / "own.yaml").cells.values()):
        complete(put(store, cell, 20.0 + i), cell, planner.image_shape(cell.profile))
    assert call("report", "own.yaml", cwd=place).returncode == 0
    shutil.rmtree(place / "runs")
    (place / "pics").rename(place / "moved")
    return place


@pytest.mark.parametrize(
    ("name", "channels", "data"),
    [
        ("folder", 3, {}),
        ("folder", 1, {"holdout": 9}),
        ("zip", 3, {"resolution": 4}),
        ("folder", 3, {"labels": "true"}),
    ],
)
def test_the_table_is_the_same_without_images_and_runs(name, channels, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = made(tmp_path, name, channels, path="pics", **data)
    for source in ("reports/own", "reports/own/records.jsonl"):
        done = call("report", "own.yaml", "--from", source, "--reports-dir", "again", cwd=place)
        assert done.returncode == 0, done.stderr
        assert "no such file or folder: the cells trained on images" in done.stderr
        before, after = (place / where / "own" / "table.csv" for where in ("reports", "again"))
        assert after.read_text() == before.read_text()


def test_other_images_here_do_not_hide_the_records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = made(tmp_path, "folder", 3, path="pics")
    spread(place / "pics", classes("a", "b", n=12))
    done = call("report", "own.yaml", "--from", "reports/own", "--reports-dir", "again", cwd=place)
    assert done.returncode == 0
    assert "no cell was trained on the images that are here" in done.stderr


@pytest.mark.parametrize(
    "change", ["profile.data.flip=true", "profile.data.path=others", "profile.data.resolution=4"]
)
def test_records_of_other_settings_are_not_taken(change, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = made(tmp_path, "folder", 3, path="pics")
    done = call("report", "own.yaml", "--set", change, "--from", "reports/own", cwd=place)
    assert (done.returncode, "no such file or folder" in done.stderr) == (2, True)


def test_a_committed_report_of_archives_needs_no_archives(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    source = REPORTS / "cifar10-8px" / "ingredients"
    experiment = planner.load(
        PACKAGE.parent / "experiments" / "ingredients.yaml", "cifar10-8px", records=source
    )
    recorded = {line.split('"key":"')[1][:12] for line in (source / "records.jsonl").read_text().splitlines()}
    assert {row.keys[0] for row in experiment.rows} <= recorded
