"""What only a GPU can show: `pytest -m gpu` runs it there, and the same bodies run on the CPU with the other tests."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import sqlite3
import subprocess
import sys

import pytest
import torch
from helpers import ranks
from helpers.cli import call
from helpers.inception import random_weights
from helpers.tiny_training import PROFILE, images, recipe, weights

from ablate.core import hardware
from ablate.core.registry import AXES
from ablate.evaluation import evaluate, extractors
from ablate.networks import compile_blocks, draw_masks, teacher_copy
from ablate.training import distributed
from ablate.training.trainer import Trainer

PRESENT = torch.cuda.device_count() if torch.cuda.is_available() else 0


def devices(gpus=1, on_cpu=()):
    """`cpu`, with marks, and `cuda`, which is skipped where there are fewer GPUs."""
    reason = "needs a CUDA device" if gpus == 1 else f"needs {gpus} CUDA devices"
    marks = [pytest.mark.gpu, pytest.mark.skipif(gpus > PRESENT, reason=reason)]
    return pytest.mark.parametrize(
        "device", [pytest.param("cpu", marks=on_cpu), pytest.param("cuda", marks=marks)]
    )


def trainer(device, profile=PROFILE, base="ict", **changes):
    return Trainer(recipe(base, **changes), profile, images(device=device), 0, device)


# largest relative difference of a loss from the CPU's in fp32, over four steps
BOUNDS = {"fp32": 1e-3, "bf16": 0.05, "fp16": 0.02}
STEPS = [
    *(("ict", {"precision": precision}) for precision in BOUNDS),
    ("ct", {}),
    ("edm", {}),
    ("ect", {}),
    ("ict", {"pairing": "continuous", "weighting": "learned"}),
]


@devices()
@pytest.mark.parametrize(("base", "changes"), STEPS, ids=str)
def test_steps_are_those_of_the_cpu(device, base, changes, monkeypatch):
    """By the same draws, because the generators of a GPU give other numbers."""
    full = {**changes, "network.dropout": 0.0, "network.multipliers": [1]}
    here, there = (
        trainer("cpu", base=base, **full | {"precision": "fp32"}),
        trainer(device, base=base, **full),
    )

    def same_draws(k):
        drawn = Trainer.draws(here, k)
        moved = {name: x.to(device) for name, x in vars(drawn).items() if isinstance(x, torch.Tensor)}
        return dataclasses.replace(drawn, **moved)

    monkeypatch.setattr(there, "draws", same_draws)
    bound = BOUNDS[changes.get("precision", "fp32")]
    for _ in range(4):
        assert there.step().loss.item() == pytest.approx(here.step().loss.item(), rel=bound)
    assert {p.device.type for p in there.network.parameters()} == {device}
    found, should = weights(there.network).cpu(), weights(here.network)
    assert (found - should).norm() <= 0.1 * bound**0.5 * should.norm()


def awake(device):
    """A network with dropout whose output depends on every mask; a new one gives zeros."""
    network = recipe(**{"network.dropout": 0.5}).network((1, 8, 8))
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return network.to(device, memory_format=torch.channels_last).train()


@devices()
def test_both_passes_have_the_same_masks(device):
    require_shared_masks(device, compiling=False)


@devices(on_cpu=pytest.mark.slow)
def test_compiled_passes_have_the_same_masks(device):
    require_shared_masks(device, compiling=True)


def require_shared_masks(device, compiling):
    student = awake(device)
    teacher, (x, c_noise) = (
        teacher_copy(student),
        (torch.randn(4, *s, device=device) for s in ((1, 8, 8), ())),
    )
    if compiling:
        torch.compiler.reset()
        for network in (student, teacher):
            compile_blocks(network, backend="inductor" if device == "cuda" else "aot_eager")
    outputs = []
    for seed in (1, 2):
        draw_masks(student, torch.Generator().manual_seed(seed))
        with torch.no_grad():
            target = teacher(x, c_noise)
        outputs.append(student(x, c_noise).detach())
        torch.testing.assert_close(outputs[-1], target, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(*outputs)


@devices()
@pytest.mark.parametrize("changes", [{}, {"precision": "fp16", "teacher": "adaptive"}], ids=str)
def test_a_resumed_training_is_bit_for_bit_the_same(device, changes, monkeypatch):
    """With torch's deterministic operations, which a GPU has for all of a step."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        whole = trainer(device, **changes)
        for _ in range(3):
            whole.step()
        file = io.BytesIO()
        torch.save(whole.state_dict(), file)
        resumed = trainer(device, **changes)
        resumed.load_state_dict(torch.load(io.BytesIO(file.getvalue()), map_location=device))
        for _ in range(3):
            assert torch.equal(whole.step().loss, resumed.step().loss)
        for name in ("weights", "averaged"):
            assert torch.equal(getattr(whole, name), getattr(resumed, name))
    finally:
        torch.use_deterministic_algorithms(False)


@devices(gpus=2, on_cpu=pytest.mark.slow)
def test_two_processes_equal_one(device):
    one = ranks.trained(distributed.ALONE, [], "ict", 1, device)
    both = distributed.launch(ranks.trained, ("ict", 1, device), 2, device)
    for name in ("loss", "per_image", "levels", "weights"):
        torch.testing.assert_close(torch.tensor(both[name]), torch.tensor(one[name]), atol=1e-4, rtol=1e-3)


@devices(on_cpu=pytest.mark.slow)
def test_an_evaluation_by_inception_is_that_of_the_cpu(device, digits, tmp_path, monkeypatch):
    monkeypatch.setenv(extractors.WEIGHTS, str(random_weights(tmp_path / "inception.pth")))
    by, against = evaluate.extractor("inception", digits, tmp_path), evaluate.reference(digits, 12)
    here, there = (evaluate.measure(digits.train[:12], against, by, tmp_path / d, d) for d in ("cpu", device))
    assert there["fid"] == pytest.approx(here["fid"], rel=0.02, abs=1e-6)
    assert there["kid"] == pytest.approx(here["kid"], rel=0.02, abs=1e-6)


HUGE = '''
"""A distance that takes more memory than any device has."""

from dataclasses import dataclass

import ablate


@ablate.AXES["metric"]("huge")
@dataclass(frozen=True)
class Huge:
    """|x - y| after four million gigabytes."""

    def __call__(self, x, y):
        return (x - y).abs().flatten(1).sum(1) + x.new_empty(2**50)[0]
'''
SETS = ["images=160", "batch=16", "evaluation.samples=64"]
SMALL = ["--no-doctor", *(word for pair in SETS for word in ("--set", f"profile.{pair}"))]
FILE = """
name: one
set: {network.width: 8, network.attention: []}
plan: [{list: [{label: a}, {label: b, set: {metric.c: 0.1}}]}]
"""


@pytest.fixture
def place(tmp_path, warmed, monkeypatch, request):
    """A folder with an experiment, whose workers see no GPU if the device is the CPU."""
    if request.getfixturevalue("device") == "cpu":
        monkeypatch.setenv(hardware.VISIBLE, "-1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "one.yaml").write_text(FILE)
    return warmed(tmp_path)


@devices(on_cpu=pytest.mark.slow)
def test_too_little_memory_is_one_line_with_the_remedy(device, place, monkeypatch):
    (place / "huge_metric.py").write_text(HUGE)
    (place / "huge.yaml").write_text(
        "name: huge\nimports: [huge_metric]\nset: {network.width: 8, network.attention: [], metric: huge}\n"
        "plan: [{list: [{label: a}]}]\n"
    )
    monkeypatch.setattr(AXES["metric"], "options", dict(AXES["metric"].options))
    done = call("run", "huge.yaml", *SMALL, cwd=place)
    sys.modules.pop("huge_metric", None)
    (line,) = [line for line in done.stdout.splitlines() if "accumulate" in line]
    assert done.returncode == 1
    assert "memory" in line
    assert "run fewer cells at a time with --workers, or set profile.accumulate" in line
    assert line.startswith("open ")


@devices(on_cpu=pytest.mark.slow)
def test_workers_start_after_the_command_used_the_device_and_mlflow_shows_what_they_use(device, place):
    torch.ones(1, device=device).sum().item()
    done = call("run", "one.yaml", *SMALL, "--workers-per-device", 2, "--json", cwd=place)
    answer = json.loads(done.stdout)
    assert sorted(answer["states"].values()) == ["finished", "finished"], done.stderr
    with contextlib.closing(sqlite3.connect(place / "runs/mlflow.db")) as opened:
        seen = {key for (key,) in opened.execute("select distinct key from metrics")}
    wanted = {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"}
    assert wanted | ({"system/gpu_0_memory_usage_megabytes"} if device == "cuda" else set()) <= seen
    for key in answer["states"]:
        record = json.loads((place / "runs" / key / "record.json").read_text())
        name = torch.cuda.get_device_name(0) if device == "cuda" else hardware.processor()
        assert record["provenance"]["device"] == name


def test_the_server_that_forks_workers_does_not_touch_the_gpu():
    """A process that is forked after CUDA was asked anything cannot use it."""
    code = f"""
import importlib, sys, torch
def touched(*_):
    sys.exit("CUDA was used")
for name in ("_cuda_init", "_cuda_getDeviceCount"):
    setattr(torch._C, name, touched)
for name in {hardware.PRELOAD}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@devices(on_cpu=pytest.mark.slow)
def test_networks_of_a_benchmark_are_timed_there(device, place, monkeypatch):
    """`bench` in a process of its own, with events of the device as its clock."""
    done = call(
        "bench", "one.yaml", "--set", "profile.images=64", "--set", "profile.batch=8", "--json", cwd=place
    )
    (entry,) = json.loads(done.stdout)
    assert entry["images_per_s"] > 0
    assert entry["peak_memory_mb"] > 1
