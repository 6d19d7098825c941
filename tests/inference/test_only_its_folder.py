"""A finished cell needs nothing but its folder: no images, no code beside the file, no right to write."""

from __future__ import annotations

import importlib
import json
import random
import shutil
import sys

import pytest
import torch
from helpers import own_network, recorded
from helpers.cli import call
from PIL import Image
from safetensors.torch import save_file

import ablate
from ablate.core.registry import AXES
from ablate.inference.model import load_export
from ablate.planning import planner
from ablate.runs.store import Store, complete

FILE = """
name: own
profile: tiny.yaml
imports: [my_options]
seeds: [0]
plan: [{list: [{label: own, set: {metric: mine, network: {name: module, path: "my_nets.small:Net"}}}]}]
"""
OPTIONS = """
from dataclasses import dataclass
import ablate
@ablate.AXES["metric"]("mine")
@dataclass(frozen=True)
class Mine:
    scale: float = 1.0
    def __call__(self, x, y):
        return self.scale * (x - y).abs().flatten(1).sum(1)
"""
CODE = {"my_options.py": OPTIONS, **own_network.files(".width")}
PROFILE = """
name: tiny
data: {name: folder, path: pics}
batch: 16
images: 320
evaluation: {samples: 16}
"""


def snapshot(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [folder, *folder.rglob("*")]}


def forget():
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]
    AXES["metric"].options.pop("mine", None)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of images and code with a finished cell; then a current folder elsewhere, without either."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, text in {**CODE, "own.yaml": FILE, "tiny.yaml": PROFILE}.items():
        (project / name).parent.mkdir(exist_ok=True, parents=True)
        (project / name).write_text(text)
    for i in range(40):
        path = project / "pics" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (8, 8), random.Random(i).randbytes(192)).save(path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(project)
    (cell,) = planner.load(project / "own.yaml").cells.values()
    folder = recorded.put(Store("runs"), cell, 20.0)
    complete(folder, cell, (3, 8, 8))
    torch.manual_seed(0)
    save_file(cell.recipe.network((3, 8, 8)).state_dict(), folder.model, {"classes": "0"})
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(project)])
    monkeypatch.chdir(elsewhere)
    forget()
    yield project, elsewhere, cell.key
    forget()


def lose(project):
    """Move the images, and delete the code."""
    (project / "pics").rename(project / "gone")
    shutil.rmtree(project / "my_nets")
    (project / "my_options.py").unlink()


COMMANDS = [
    ("sample", "KEY", "-n", 2, "--out", "a.png"),
    ("export", "KEY", "--out", "ex"),
    ("show", "KEY"),
    ("diff", "KEY", "ict"),
    ("edit", "KEY", "--task", "inpaint", "--image", "PROJECT/gone/a/0.png", "--out", "b.png"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=[c[0] for c in COMMANDS])
def test_commands_on_a_cell_need_its_folder_only_and_leave_it_alone(place, words):
    project, elsewhere, key = place
    lose(project)
    before = snapshot(project)
    words = [str(w).replace("KEY", key).replace("PROJECT", str(project)) for w in words]
    done = call(*words, "--runs-dir", project / "runs", cwd=elsewhere)
    assert (done.returncode, done.stderr) == (0, "")
    assert snapshot(project) == before


@pytest.mark.parametrize("command", ["status", "report"])
def test_commands_on_a_file_find_the_cells_of_images_that_are_gone(place, command):
    project, elsewhere, _ = place
    (project / "pics").rename(project / "gone")
    before = snapshot(project / "runs")
    more = ["--reports-dir", "reports"] if command == "report" else ["--once"]
    done = call(command, project / "own.yaml", "--runs-dir", project / "runs", *more, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no such file or folder: the cells trained on images") == 1
    found = done.stdout if command == "status" else (elsewhere / "reports/own/table.csv").read_text()
    assert "finished" in found or "20" in found
    assert snapshot(project / "runs") == before
    table = ablate.results(project / "own.yaml", project / "runs")
    assert list(table["state"].unique()) == ["finished"]


def test_images_that_were_never_trained_on_are_an_error(place):
    project, elsewhere, _ = place
    (project / "pics").rename(project / "gone")
    for change in ("profile.data.path=others", "profile.data.flip=true", "profile.data.resolution=4"):
        words = ["report", project / "own.yaml", "--set", change, "--runs-dir", project / "runs"]
        done = call(*words, cwd=elsewhere)
        assert done.returncode == 2
        assert "no such file or folder" in done.stderr


def test_commands_that_compute_still_need_the_images(place):
    project, _, _ = place
    (project / "pics").rename(project / "gone")
    for command in (["run"], ["run", "--dry-run"], ["doctor"]):
        done = call(*command, "own.yaml", cwd=project)
        assert (done.returncode, "no such file or folder" in done.stderr) == (2, True)


def test_a_cell_is_sampled_with_its_own_code_after_that_has_changed(place):
    project, elsewhere, key = place
    before = ablate.load(key, project / "runs").sample(2)
    forget()
    (project / "my_nets" / "width.py").write_text("WIDTH = 16\n")
    assert call("sample", key, "-n", 2, "--out", elsewhere / "a.png", cwd=project).returncode == 0
    assert torch.equal(ablate.load(key, project / "runs").sample(2), before)
    assert importlib.import_module("my_nets.width").WIDTH == 16  # yours is not replaced


def test_an_export_needs_nothing_else(place):
    project, elsewhere, key = place
    call("export", key, "--out", elsewhere / "ex", "--runs-dir", project / "runs", cwd=elsewhere)
    before = ablate.load(key, project / "runs").sample(2)
    shutil.rmtree(project)
    forget()
    assert torch.equal(load_export(elsewhere / "ex").sample(2), before)


def test_a_cell_of_an_older_version_still_asks_its_images(place):
    project, _, key = place
    folder = Store(project / "runs").folder(key)
    config = json.loads(folder.config.read_text())
    del config["image_shape"]
    folder.config.write_text(json.dumps(config))
    assert call("sample", key, "-n", 2, cwd=project).returncode == 0
    (project / "pics").rename(project / "gone")
    done = call("sample", key, "-n", 2, cwd=project)
    assert (done.returncode, "no such file or folder" in done.stderr) == (2, True)


def test_a_store_that_is_not_there_is_not_made(tmp_path):
    for words in (["sample", "ab"], ["export", "ab", "--out", "ex"], ["edit", "ab", "--task", "inpaint"]):
        done = call(*words, "--runs-dir", tmp_path / "runs", cwd=tmp_path)
        assert (done.returncode, "there are no cells" in done.stderr) == (2, True)
    assert not list(tmp_path.iterdir())
