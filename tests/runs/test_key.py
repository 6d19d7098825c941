"""What a cell computes is what its key names: its images, its code, its weights; else it stays open."""

from __future__ import annotations

import json
import random
import sys

import pytest
from helpers import own_network
from helpers.cli import call
from PIL import Image

from ablate.cli.computation import Computation
from ablate.core.errors import SpecError
from ablate.planning import planner
from ablate.planning.cells import Cell
from ablate.runs import worker
from ablate.runs.store import Store, restore


@pytest.mark.parametrize(
    "change", ["{embedding: positional}", "{network: ddpmpp, embedding: positional}", "{metric.c: 1}"]
)
def test_a_cell_keeps_its_key_in_the_worker(change, tmp_path):
    """A default may be a whole number where the field takes any: a key tells 1 from 1.0."""
    (tmp_path / "it.yaml").write_text(
        f"name: it\nseeds: [0]\nplan: [{{list: [{{label: a, set: {change}}}]}}]\n"
    )
    (cell,) = planner.load(tmp_path / "it.yaml").cells.values()
    folder = Store(tmp_path / "runs").prepare(cell)
    found = restore(json.loads(folder.config.read_text()))
    assert found.recipe == cell.recipe
    assert Cell.of(found.recipe, found.profile, found.seed, found.fingerprint).key == cell.key


FILE = """
name: own
profile: tiny.yaml
imports: [my_options]
seeds: [0]
set: {network.width: 8, network.multipliers: [1], network.blocks: 1, network.attention: [], embedding.channels: 16}
plan:
  - list:
      - {label: own, set: {metric: mine}}
      - {label: network, set: {network: {name: module, path: "my_nets.small:Net"}}}
"""
CODE = {
    "my_options.py": """
from dataclasses import dataclass
import ablate
from my_base import Base
SCALE = 1.0
def size(d):
    return d.abs() * SCALE
@ablate.AXES["metric"]("mine")
@dataclass(frozen=True)
class Mine(Base):
    def __call__(self, x, y):
        return size(x - y).flatten(1).sum(1)
""",
    "my_base.py": "class Base:\n    pass\n",
    **own_network.files("my_nets.width"),
}
PROFILE = """
name: tiny
data: {name: folder, path: pics}
batch: 16
images: 320
evaluation: {samples: 16}
"""


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = bytes(random.Random(path.name).randrange(256) for _ in range(192))
    Image.frombytes("RGB", (8, 8), pixels).save(path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name, text in {**CODE, "own.yaml": FILE, "tiny.yaml": PROFILE}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for i in range(40):
        picture(tmp_path / "pics" / "ab"[i % 2] / f"{i}.png")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def planned():
    return list(planner.load("own.yaml").cells.values())


def change_code(place):
    (place / "my_options.py").write_text(CODE["my_options.py"].replace("SCALE = 1.0", "SCALE = 2.0"))


@pytest.mark.parametrize(
    ("name", "changed"), [*((n, {0}) for n in list(CODE)[:2]), *((n, {1}) for n in list(CODE)[2:])]
)
def test_the_key_names_all_code_that_an_option_uses(place, name, changed):
    before = planned()
    (place / name).write_text(CODE[name] + "more = 1\n")
    assert {i for i, (a, b) in enumerate(zip(before, planned(), strict=True)) if a.key != b.key} == changed


def test_the_doctor_forgets_what_it_found_on_other_code_or_images(place):
    from ablate.doctor.gate import verdict_path

    store = Store(place / "runs")
    seen = [verdict_path(store, planned()[0])]
    change_code(place)
    seen.append(verdict_path(store, planned()[0]))
    picture(place / "pics" / "a" / "new.png")
    seen.append(verdict_path(store, planned()[0]))
    (place / "pics").rename(place / "moved")
    moved = planner.load("own.yaml", overrides={"profile.data.path": "moved"})
    assert len(set(seen)) == 3
    assert verdict_path(store, next(iter(moved.cells.values()))) == seen[-1]


def test_a_network_whose_module_is_not_there_is_found_at_planning(place):
    with pytest.raises(SpecError, match=r"network.path: 'my_nets.smal:Net': no module 'my_nets.smal'"):
        planner.load("own.yaml", overrides={"network": {"name": "module", "path": "my_nets.smal:Net"}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda place: picture(place / "pics" / "a" / "new.png"), "the images changed"),
        (lambda place: (place / "pics" / "b" / "1.png").unlink(), "the images changed"),
        (
            lambda place: (place / "pics" / "a" / "0.png").rename(place / "pics" / "b" / "0.png"),
            "the images changed",
        ),
        (change_code, "code or weights"),
        (lambda place: (place / "my_base.py").write_text("class Base:\n    more = 1\n"), "code or weights"),
    ],
)
def test_a_worker_refuses_what_its_key_does_not_name(place, change, said):
    cell = planned()[0]
    folder = Store("runs").prepare(cell)
    change(place)
    with pytest.raises(SpecError, match=said):
        worker.compute(cell, folder)
    assert not folder.record.exists()


def test_weights_that_are_replaced_after_planning_are_refused(place):
    from safetensors.torch import save_file

    specs = planned()[0].recipe.network
    weights = specs((3, 8, 8)).state_dict()
    save_file(weights, "start.safetensors")
    start = {"init_from": {"name": "file", "path": "start.safetensors"}}
    start["network"] = planned()[0].recipe.specs()["network"]  # in every row, because the weights must fit
    cell = next(iter(planner.load("own.yaml", overrides=start).cells.values()))
    save_file({k: v + 1 for k, v in weights.items()}, "start.safetensors")
    with pytest.raises(SpecError, match="code or weights"):
        worker.compute(cell, Store("runs").prepare(cell))


def test_a_run_says_which_cells_stay_open_and_why(place, monkeypatch):
    """The picture arrives between planning and the first worker."""
    monkeypatch.setattr(Computation, "admit", lambda *_: picture(place / "pics" / "a" / "new.png"))
    done = call("run", "own.yaml", "--workers", 1, "--set", "profile.data.holdout=8", "--json", cwd=place)
    assert done.stdout, done.stderr
    states = json.loads(done.stdout)["states"]
    assert (done.returncode, set(states.values())) == (1, {"open"})
    assert not list(place.glob("runs/*/record.json"))
    assert "the images changed" in next(place.glob("runs/*/log.txt")).read_text()
