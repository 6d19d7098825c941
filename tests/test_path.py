"""How far a value of a YAML file travels before it is the `c` of the loss: few files, and one name."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.layers import PACKAGE
from typer.testing import CliRunner

from ablate.cli import app
from ablate.core.registry import AXES
from ablate.planning import planner
from ablate.runs.store import Store, restore
from ablate.runs.worker import compute

FILE = """
name: path
seeds: [0]
plan:
  - list: [{label: one, set: {metric: spy, metric.c: 0.0314}}]
"""


class Reached(Exception):
    """The value has arrived."""


@dataclass(frozen=True)
class Spy:
    """A metric that notes through which files it was called."""

    c: float = 1.0

    def __post_init__(self):
        if self.c == 0.0314:
            passed["built"] = files()

    def __call__(self, x, y):
        if self.c == 0.0314:
            passed["used"] = files()
        raise Reached


passed: dict[str, list[str]] = {}


def files() -> list[str]:
    """The package's files on the call stack, outermost first."""
    names = [Path(frame.filename) for frame in traceback.extract_stack()]
    return list(dict.fromkeys(str(n.relative_to(PACKAGE)) for n in names if n.is_relative_to(PACKAGE)))


@pytest.fixture(autouse=True)
def spy(tmp_path, monkeypatch):
    AXES["metric"]("spy")(Spy)
    (tmp_path / "path.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    yield
    del AXES["metric"].options["spy"]


def test_in_the_parent_a_value_passes_eight_files_at_most():
    done = CliRunner().invoke(app, ["run", "path.yaml", "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    assert (
        json.loads(done.stdout)["rows"][0]["changed"]["metric.c"] == 0.0314
    )  # under the name it was typed by
    assert "cli/run.py" in passed["built"]
    assert len(passed["built"]) <= 8


def test_in_a_worker_the_loss_is_five_files_away(tmp_path):
    (cell,) = planner.load("path.yaml", overrides={"profile.images": 320}).cells.values()
    folder = Store(tmp_path / "runs").prepare(cell)
    config = json.loads(folder.config.read_text())
    assert config["specs"]["metric"] == {"name": "spy", "c": 0.0314}
    with pytest.raises(Reached):
        compute(restore(config), folder)
    assert passed["used"] == ["runs/worker.py", "runs/loop.py", "training/trainer.py", "training/loss.py"]
    assert passed["built"] == ["runs/store.py", "config/recipe.py", "core/registry.py"]
