"""What `bench` measures: parts that add up to a step, a rate against a product's, and no data read or written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ablate.cli import app
from ablate.cost import bench, estimate
from ablate.cost.estimate import Group
from ablate.data import datasets
from ablate.planning import planner
from ablate.training.trainer import Trainer

FILE = """
name: speed
seeds: [0, 1]
profile: profiles/bench/batch8.yaml
set: {network.width: 8, network.multipliers: [1], network.blocks: 1, network.attention: [], network.dropout: 0.1}
plan:
  - grid: {precision: [fp32, bf16]}
"""
PROFILES = Path(__file__).parents[2] / "experiments" / "profiles"


@pytest.fixture
def experiment(tmp_path):
    (tmp_path / "profiles").symlink_to(PROFILES)
    (tmp_path / "speed.yaml").write_text(FILE)
    return planner.load(tmp_path / "speed.yaml", overrides={"profile.images": 64})


def made(experiment):
    cell = next(iter(experiment.cells.values()))
    return cell, Trainer(cell.recipe, cell.profile, bench.random_images(cell, "cpu"), 0)


def test_an_entry_relates_a_step_to_a_product(experiment):
    cell = next(iter(experiment.cells.values()))
    parts = dict.fromkeys(bench.PARTS, 0.0) | {"teacher": 0.4, "log": 0.1}
    said = {"step_s": 2.0, "parts": parts, "peak_memory_mb": 7.0, "matmul_tflops": 0.5}
    entry = bench.entry(Group((cell, cell), 1, 10, 10**9), said)
    assert entry["images_per_s"] == 4
    assert entry["step_tflops"] == pytest.approx(4 * 8 / 2 / 1000)
    assert entry["share"] == pytest.approx(entry["step_tflops"] / 0.5)
    assert entry["hours"] == pytest.approx((8 * 2.1 + 1000 * 3 * 0.4 / 8) / 3600)  # one step, then two
    assert "4 images/s" in bench.format_entry(entry)


@pytest.mark.parametrize("changes", [{}, {"teacher": "adaptive"}, {"profile.accumulate": 2}])
def test_the_parts_of_a_step_are_all_of_it(experiment, changes):
    cell, trainer = made(planner.load(experiment.file, overrides={"profile.images": 64, **changes}))
    laps = bench.Laps(trainer, "cpu")
    for _ in range(2):
        laps.begin()
        trainer.step()
        laps.mark("ema")
    marks = laps.steps[-1]
    names = ["", *["data", "teacher", "student", "student", "backward", "teacher", "student", "student"]]
    names = names[: 5 if cell.profile.accumulate == 1 else 9]
    assert [name for name, _ in marks] == [*names, "backward", "optimizer", "ema"]
    parts = laps.parts(1)
    assert sum(parts.values()) == pytest.approx(marks[-1][1] - marks[0][1])
    assert parts["log"] == 0


def test_a_clocked_step_computes_what_a_plain_one_does(experiment):
    (_, plain), (_, clocked) = made(experiment), made(experiment)
    laps = bench.Laps(clocked, "cpu")
    for _ in range(2):
        laps.begin()
        assert plain.step().loss == clocked.step().loss


def test_images_are_made_up_in_the_profiles_shape(experiment, monkeypatch):
    monkeypatch.setattr(datasets, "load", None)  # nothing may be read
    answer = {"profile.data.labels": True, "profile.images": 64}
    cell, trainer = made(planner.load(experiment.file, overrides=answer))
    images = bench.random_images(cell, "cpu")
    assert (images.shape, images.classes) == ((3, 32, 32), 10)
    assert trainer.step().loss.isfinite()
    assert 0 < bench.log_s(cell, trainer, [trainer.step()]) < 1


def test_a_product_takes_the_precisions_numbers(experiment, monkeypatch):
    monkeypatch.setattr(bench, "SIZE", 8)
    monkeypatch.setattr(bench, "PRODUCTS", 3)
    for cell in experiment.cells.values():
        assert bench.matmul_rate(cell.recipe.precision, "cpu") > 0
    with pytest.raises(RuntimeError):  # a device that is not there
        bench.matmul_rate(cell.recipe.precision, "meta:0" if torch.cuda.is_available() else "cuda")


def test_the_command_lists_every_network_and_precision(experiment, tmp_path, monkeypatch):
    said = {
        "step_s": 1.0,
        "parts": dict.fromkeys(bench.PARTS, 0.1),
        "peak_memory_mb": 1.0,
        "matmul_tflops": 1.0,
    }
    monkeypatch.setattr(bench, "in_processes", lambda *arguments: [said])
    arguments = ["bench", str(experiment.file), "--runs-dir", str(tmp_path / "runs")]
    listed = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert [(e["network"], e["precision"]) for e in listed] == [("ncsnpp", "fp32"), ("ncsnpp", "bf16")]
    wanted = "network precision images_per_s step_tflops matmul_tflops share peak_memory_mb parts"
    assert set(wanted.split()) <= set(listed[0])
    assert set(listed[0]["parts"]) == {"data", "student", "teacher", "backward", "optimizer", "ema", "log"}
    assert CliRunner().invoke(app, arguments).stdout.count("images/s") == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_step_is_timed_in_a_process_of_its_own(experiment):
    (entry, *_) = bench.speeds(estimate.groups(experiment, Path("none"))[:1], 1, "cpu")
    assert 0 < entry["share"] < 1
    assert entry["peak_memory_mb"] > 100
