"""Memory counted without content is that of a real run, and what was counted is not counted again."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from unittest import mock

import pytest
import torch

from ablate.config.profile import load_profile
from ablate.config.recipe import apply, load_recipe
from ablate.core.registry import AXES
from ablate.cost import kept
from ablate.cost.memory import Live, count_memory
from ablate.data.datasets import Images
from ablate.training.trainer import Trainer

SHAPE = (1, 8, 8)
DIGITS = load_profile("digits")
LARGER = {"network.width": 48, "network.blocks": 2, "network.dropout": 0.2}
ONE_LEVEL = {"network.multipliers": [1]}  # each operation that is counted takes time


def recipe(changes):
    return apply(load_recipe("ict"), {**DIGITS.adapt, **changes}).for_images(SHAPE)


def real(recipe, profile):
    """The most bytes alive in the second step of a real training on the CPU: the first one makes the state."""
    images = torch.zeros(64, *SHAPE, dtype=torch.uint8)
    labels = torch.zeros(64, dtype=torch.int64)
    with Live() as live:
        data = Images(images, labels, images, labels, 10, "x")
        trainer = Trainer(recipe.from_scratch(), profile, data, 0)
        trainer.step()
        return live.of(trainer.step)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer")
@pytest.mark.parametrize(
    ("changes", "batch", "accumulate"),
    [
        ({}, 16, 1),
        ({**ONE_LEVEL, "teacher": "none", "optimizer": "lion"}, 16, 1),
        ({**ONE_LEVEL, **LARGER}, 32, 1),
        ({**ONE_LEVEL, "network.width": 32}, 2, 2),
        ({**ONE_LEVEL, "precision": "bf16"}, 16, 1),
    ],
)
def test_counted_memory_is_within_15_percent_of_a_real_run(changes, batch, accumulate):
    profile = DIGITS.model_copy(update={"batch": batch, "accumulate": accumulate})
    counted = count_memory(recipe(changes), profile, SHAPE, 0)
    measured = real(recipe(changes), profile)
    assert counted["step" if accumulate == 1 else "micro_step"] == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("base", ["ict", "sct", "flow", "tcm", "meanflow", "scd"])
def test_a_training_after_the_count_has_content(base):
    """Frequencies and ladders that were made for the count are not those of the training."""
    tiny = {**DIGITS.adapt, **ONE_LEVEL, "network.width": 8, "network.attention": []}
    chosen = apply(load_recipe(base), tiny).for_images(SHAPE).from_scratch()
    profile = DIGITS.model_copy(update={"batch": 4})
    count_memory(chosen, profile, SHAPE, 0)
    images, labels = torch.zeros(8, *SHAPE, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64)
    step = Trainer(chosen, profile, Images(images, labels, images, labels, 10, "x"), 0).step()
    assert type(step.loss) is torch.Tensor
    assert step.loss.isfinite()


ALLOCATED = """
import ctypes, gc, sys
from torch.utils._python_dispatch import TorchDispatchMode
sys.path.insert(0, sys.argv[1])
from test_memory import *

class Fields(ctypes.Structure):  # mallinfo2 of malloc.h
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

library = ctypes.CDLL("libc.so.6")
library.mallinfo2.restype = Fields

def used():
    found = library.mallinfo2()
    return found.uordblks + found.hblkhd

class Most(TorchDispatchMode):
    peak = 0
    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        self.peak = max(self.peak, used())
        return result

def trainer():
    images, labels = torch.zeros(64, *SHAPE, dtype=torch.uint8), torch.zeros(64, dtype=torch.int64)
    made = Trainer(chosen.from_scratch(), profile, Images(images, labels, images, labels, 10, "x"), 0)
    made.step()
    return made

chosen, profile = recipe(LARGER), DIGITS.model_copy(update={"batch": 32})
first = trainer()  # libraries take what they keep
del first
gc.collect()
before, second = used(), trainer()
with Most() as most:
    second.step()
print((most.peak - before) / count_memory(chosen, profile, SHAPE, 0)["step"])
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="reads glibc's own count of its memory")
def test_counted_memory_is_what_the_c_library_hands_out():
    command = [sys.executable, "-W", "ignore", "-c", ALLOCATED, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert float(done.stdout) == pytest.approx(1, rel=0.1), done.stderr


def test_live_memory_is_that_of_tensors_which_are_alive():
    """1 MB, then 2, then 1 again; views and changes in place take nothing."""
    with Live() as live:
        a = torch.zeros(250_000)
        b = (a[10:].add_(1), a.view(500, 500))
        assert live.now == 1_000_000
        c = a + 1
        del a, b
        assert live.now == 1_000_000
        del c
    assert (live.now, live.peak) == (0, 2_000_000)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "CACHE", str(tmp_path / "counts"))
    return tmp_path / "counts"


def test_what_was_counted_is_kept_by_what_it_depends_on(cache):
    """Another width counts anew; another loss, seed or learning rate does not."""
    first = kept.flops(recipe({}), DIGITS)
    with mock.patch("ablate.cost.flops.count_flops", side_effect=AssertionError("counted again")):
        assert kept.flops(recipe({"metric": "l1", "optimizer.lr": 0.1}), DIGITS) == first
        with pytest.raises(AssertionError, match="counted again"):
            kept.flops(recipe({"network.width": 8}), DIGITS)
        with pytest.raises(AssertionError, match="counted again"), mock.patch.object(kept, "_code", str):
            kept.flops(recipe({}), DIGITS)


MADE = {"step": 4, "micro_step": 3, "sampling": 2, "operations": 1}


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "{", "no text", "{}", '{"parameters": 1, "step": 4}', '{"flops_forward": 1, "sampling": 2}']
    + [json.dumps(dict.fromkeys([*MADE, "parameters", "flops_forward"], v)) for v in ("1", 1.5, True, None)],
)
@pytest.mark.parametrize("count", [kept.flops, kept.memory])
def test_a_damaged_count_is_counted_again(cache, damage, count):
    with mock.patch("ablate.cost.memory.count_memory", return_value=MADE):
        first = count(recipe({}), DIGITS)
        (file,) = cache.iterdir()
        file.write_text(damage)
        assert count(recipe({}), DIGITS) == first
    assert json.loads(file.read_text()) == first


@pytest.mark.parametrize("place", ["{}/file/counts", "~nobody-of-this-name/counts", "/proc/counts"])
def test_counts_need_no_right_to_write_and_are_counted_once(tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(kept, "CACHE", place.format(tmp_path))
    made = {"parameters": 1, "flops_forward": 2}
    with mock.patch("ablate.cost.flops.count_flops", return_value=made) as counted:
        assert kept.flops(recipe({}), DIGITS) == made
    assert counted.call_count == 1


@pytest.mark.parametrize("error", [RuntimeError, OSError, ValueError, MemoryError, KeyError])
@pytest.mark.parametrize("of", ["flops", "memory"])
def test_an_error_of_the_count_is_seen_and_nothing_is_kept(cache, error, of):
    fails = mock.patch(f"ablate.cost.{of}.count_{of}", side_effect=error("a bug"))
    with fails as counted, pytest.raises(error, match="a bug"):
        getattr(kept, of)(recipe({}), DIGITS)
    assert counted.call_count == 1
    assert not cache.exists()


@pytest.mark.parametrize(
    "reads",
    [
        lambda x: x * float(x.sum()),
        lambda x: x * (2 if x.max() > 0 else 1),
        lambda x: x[x > 0],
        lambda x: x.unique(),
        lambda x: x * torch.from_numpy(x.detach().cpu().numpy()),
    ],
)
def test_code_of_yours_that_reads_its_tensors_cannot_be_counted(cache, reads):
    """And the next command tries again."""
    metric = AXES["metric"]
    with mock.patch.dict(metric.options):

        @metric("mine")
        @dataclass(frozen=True)
        class Mine:
            def __call__(self, x, y):
                return reads((x - y).square().sum(dim=(1, 2, 3)))

        chosen = recipe({**ONE_LEVEL, "metric": "mine", "network.width": 8, "network.attention": []})
        profile = DIGITS.model_copy(update={"batch": 2})
        assert kept.memory(chosen, profile) == {}
        assert not cache.exists()
        with mock.patch("ablate.cost.memory.count_memory", return_value=MADE):
            assert kept.memory(chosen, profile) == MADE


@pytest.mark.parametrize(
    "name", ["config/recipe.py", "core/registry.py", "networks/foreign.py", "cost/memory.py"]
)
def test_a_count_depends_on_the_code_that_builds_networks(monkeypatch, name):
    before, read = kept._code.__wrapped__(), Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: read(path) + b"#" * path.as_posix().endswith(f"ablate/{name}")
    )
    assert kept._code.__wrapped__() != before


@pytest.mark.parametrize("library", ["torch", "diffusers"])
@pytest.mark.parametrize("now", ["99.0", ""])
def test_a_count_depends_on_the_versions_of_libraries(cache, library, now):
    def installed(name):
        if name == library and not now:
            raise PackageNotFoundError
        return now if name == library else version(name)

    first = {"parameters": 1, "flops_forward": 2}
    with mock.patch("ablate.cost.flops.count_flops", return_value=first) as counted:
        kept.flops(recipe({}), DIGITS)
        with mock.patch.object(kept, "version", installed):
            kept.flops(recipe({}), DIGITS)
            kept.flops(recipe({}), DIGITS)
    assert counted.call_count == 2


def test_what_was_counted_is_known_without_torch(cache):
    kept.flops(recipe({}), DIGITS)
    code = (
        "import sys; from ablate.cost import kept; from ablate.config.profile import load_profile; "
        "from ablate.config.recipe import apply, load_recipe; p = load_profile('digits'); "
        f"kept.CACHE = {str(cache)!r}; r = apply(load_recipe('ict'), p.adapt).for_images((1, 8, 8)); "
        "assert kept.flops(r, p)['parameters']; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
