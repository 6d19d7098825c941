"""What the machine lacks is no result: the cell stays open, and the next run tries it again."""

from __future__ import annotations

import errno
import io
import json
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from helpers.cli import call
from helpers.instant_cells import Instant
from PIL import Image
from safetensors import SafetensorError

from ablate.core.errors import SpecError, missing_extra
from ablate.core.registry import AXES
from ablate.evaluation import evaluate
from ablate.execution.scheduler import Scheduler
from ablate.planning.planner import load
from ablate.runs import failures, worker
from ablate.runs.record import UNAVAILABLE
from ablate.runs.store import Store
from ablate.study import search as studies

pytestmark = pytest.mark.usefixtures("two_figures")

OPTION = """
import os, zipfile
from dataclasses import dataclass
import ablate

@ablate.AXES["metric"]("moody")
@dataclass(frozen=True)
class Moody:
    '''|x - y|, unless something is missing.'''
    how: str = "fine"

    def __call__(self, x, y):
        if not os.path.exists("mended"):
            if self.how == "memory":
                raise MemoryError
            if self.how == "cuda":
                raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
            if self.how == "weights":
                open("weights.pt")
            if self.how == "damaged":
                raise zipfile.BadZipFile("File is not a zip file")
        if self.how == "own":
            raise ValueError("my equation")
        return (x - y).abs().flatten(1).sum(1)
"""
HOWS = ["memory", "cuda", "weights", "damaged", "own"]
FILE = f"""
name: moody
imports: [moody_option]
set: {{network.width: 8, network.attention: [], metric: moody}}
plan: [{{grid: {{metric.how: {HOWS}}}}}]
"""
SMALL = ["--set", "profile.images=160", "--set", "profile.evaluation.samples=64", "--no-doctor"]


@pytest.fixture
def _plugins(monkeypatch):
    monkeypatch.setattr(AXES["metric"], "options", dict(AXES["metric"].options))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("moody_option", None)


@pytest.mark.usefixtures("_plugins")
def test_the_machines_failures_leave_cells_open_and_the_recipes_own_is_a_result(tmp_path, warmed):
    place = warmed(tmp_path)
    (place / "moody_option.py").write_text(OPTION)
    (place / "moody.yaml").write_text(FILE)
    done = call("run", "moody.yaml", *SMALL, "--json", cwd=place)
    states = json.loads(done.stdout)["states"]
    assert (done.returncode, sorted(states.values())) == (1, ["failed", *4 * ["open"]]), done.stderr
    assert not any((place / "runs" / k / "record.json").exists() for k, s in states.items() if s == "open")
    for said in (
        "MemoryError; run fewer cells",
        "CUDA out of memory",
        "weights.pt: no such file",
        "BadZipFile",
    ):
        assert said in done.stderr
    assert done.stderr.count("the same command tries it again") == 4
    (place / "mended").touch()
    again = json.loads(call("run", "moody.yaml", *SMALL, "--json", cwd=place).stdout)
    assert sorted(again["states"].values()) == ["failed", *4 * ["finished"]]
    assert len(again["computed"]) == 4


@pytest.mark.slow
def test_a_cell_whose_record_was_cut_off_is_computed_again(tmp_path, warmed):
    place = warmed(tmp_path)
    (place / "one.yaml").write_text("name: one\nplan: [{list: [{label: a}]}]\n")
    (key,) = json.loads(call("run", "one.yaml", *SMALL, "--json", cwd=place).stdout)["states"]
    record = place / "runs" / key / "record.json"
    whole = json.loads(record.read_text())
    record.write_text(record.read_text()[:200])
    again = json.loads(call("run", "one.yaml", *SMALL, "--json", cwd=place).stdout)
    assert (again["states"], again["computed"]) == ({key: "finished"}, [key])
    assert json.loads(record.read_text())["fid"] == whole["fid"]


MACHINE = [
    FileNotFoundError(errno.ENOENT, "No such file or directory", "vgg.pt"),
    PermissionError(errno.EACCES, "Permission denied", "/data"),
    TimeoutError("timed out"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory"),
    SafetensorError("Error while deserializing header: InvalidHeaderDeserialization"),
    EOFError("Ran out of input"),
    zipfile.BadZipFile("Bad CRC-32 for file 'a.png'"),
    ModuleNotFoundError("No module named 'diffusers'"),
    missing_extra("network: diffusers", "diffusers"),
    SpecError("profile.data.path: 'pics': no such file or folder"),
]
RECIPE = [
    ValueError("my equation"),
    ZeroDivisionError("division by zero"),
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
    RuntimeError("CUDA error: device-side assert triggered"),
    KeyError("scale"),
    AssertionError(),
]


@pytest.mark.parametrize("error", [*MACHINE, *RECIPE], ids=lambda e: f"{type(e).__name__} {e}"[:60])
def test_which_errors_are_the_machines(error):
    assert failures.of_machine(error) == (error in MACHINE)
    assert "\n" not in failures.line(error)


def test_only_a_disk_that_every_cell_needs_ends_the_sweep(tmp_path):
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        assert failures.unwritable(OSError(code, "no", "/elsewhere/cache"), tmp_path)
    for code in (errno.ENOENT, errno.EACCES, errno.EIO):
        assert failures.unwritable(OSError(code, "no", str(tmp_path / "key" / "record.json")), tmp_path)
        assert not failures.unwritable(OSError(code, "no", "/elsewhere/weights.pt"), tmp_path)
    assert not failures.unwritable(OSError(errno.ECONNRESET, "reset"), tmp_path)


def pictures(folder: Path, n=40):
    """A folder of pictures in two classes."""
    for i in range(n):
        file = folder / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, 2 * i, 90)).save(file)


@pytest.mark.parametrize("harm", ["moved", "damaged picture", "other pictures"])
def test_data_that_change_after_planning_leave_the_cell_open(harm, tmp_path):
    pictures(tmp_path / "pics")
    (tmp_path / "one.yaml").write_text("name: one\nplan: [{list: [{label: ict}]}]\n")
    data = {"name": "folder", "path": str(tmp_path / "pics"), "resolution": 8}
    chosen = {f"profile.data.{k}": v for k, v in data.items()} | {"profile.images": 160}
    (cell,) = load(tmp_path / "one.yaml", overrides=chosen).cells.values()
    if harm == "moved":
        (tmp_path / "pics").rename(tmp_path / "elsewhere")
    elif harm == "damaged picture":
        (tmp_path / "pics/b/1.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    else:
        (tmp_path / "pics/a/0.png").unlink()
        Image.new("L", (8, 8)).save(tmp_path / "pics/a/0.png")
    folder = Store(tmp_path / "runs").prepare(cell)
    with pytest.raises((failures.Unavailable, SpecError)) as caught:
        worker._write_record(folder, lambda: worker.compute(cell, folder))
    assert failures.of_machine(caught.value)
    assert not folder.record.exists()


@pytest.mark.parametrize("part", ["extractor", "reference", "measure", "of_real_images"])
def test_an_evaluation_that_breaks_costs_no_training(part, tmp_path, monkeypatch):
    def breaks(*_):
        raise ValueError("the archive of weights has another layout")

    monkeypatch.setattr(evaluate, part, breaks)
    if part != "extractor":
        monkeypatch.setattr(evaluate, "extractor", lambda *_: evaluate.Extractor("any", "any", None, "64"))
    for earlier in ("reference", "measure", "entries"):
        if part == "of_real_images" or (part == "measure" and earlier == "reference"):
            monkeypatch.setattr(evaluate, earlier, lambda *_: {} if _ else None)
    (tmp_path / "one.yaml").write_text(
        "name: one\nset: {network.width: 8, network.attention: []}\nplan: [{list: [{label: ict}]}]\n"
    )
    chosen = {"profile.images": 160, "profile.evaluation.samples": 16}
    (cell,) = load(tmp_path / "one.yaml", overrides=chosen).cells.values()
    folder = Store(tmp_path / "runs").prepare(cell)
    with pytest.raises(failures.Unavailable, match="another layout"):
        worker._write_record(folder, lambda: worker.compute(cell, folder))
    assert not folder.record.exists()
    assert folder.checkpoints[0].exists()  # of the last step: the next start only measures


class Lacking(Instant):
    """Cells that find something missing on this machine, until it is mended."""

    mended = False

    def _end(self, path, code):
        if not self.mended:
            (path / "record.json").unlink(missing_ok=True)
            (path / "log.txt").write_text("loading\nvgg.pt: no such file or directory\n")
        super()._end(path, code if self.mended else UNAVAILABLE)


def test_a_study_stops_where_the_machine_fails_and_loses_no_trial(tmp_path, monkeypatch):
    (tmp_path / "s.yaml").write_text("name: s\nsearch: {metric.c: [0.01, 0.1]}\ntrials: 2\n")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    store, executor = Store(tmp_path / "runs"), Lacking()
    plan = studies.load(tmp_path / "s.yaml")
    study = studies.open_study(plan, store.path)
    said = studies.run(plan, study, store, lambda s, follow, n: Scheduler(executor, s, follow))
    assert said == "vgg.pt: no such file or directory; the same command tries it again"
    assert studies.states(study) == {}
    executor.mended = True
    assert not studies.run(plan, study, store, lambda s, follow, n: Scheduler(executor, s, follow))
    assert studies.states(study) == {"complete": 2}
