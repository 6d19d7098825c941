"""Counts what a training step launches on its device, by stage; `meta` stands for it, so any size takes seconds.

A launch is an operation that torch's dispatcher passes on with a tensor of the device. Views are none: they make a
new description of old memory. Neither is memory that is only allocated, nor what is computed on the host, such as the
seeds of the masks. A launch may be several kernels in the end: a group norm is three on a GPU.
"""

from __future__ import annotations

import collections
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import ablate
from ablate.config.profile import load_profile
from ablate.data import datasets
from ablate.data.datasets import Images
from ablate.planning.rows import adapted
from ablate.training import noise_bins
from ablate.training.denoiser import Denoiser
from ablate.training.loss import Terms
from ablate.training.trainer import Trainer

SHAPES = {
    "digits": (1, 8, 8),
    "cifar10-8px": (3, 8, 8),
    "cifar10-1gpu": (3, 32, 32),
    "cifar10-paper": (3, 32, 32),
}
STAGES = ("draws", "masks", "teacher", "student", "loss", "backward", "optimizer", "averages", "logging")
PRODUCTS = ("convolution", "mm", "addmm", "bmm", "baddbmm", "scaled_dot_product")
ALLOCATIONS = ("empty", "new_empty", "empty_like", "empty_strided", "_unsafe_view")


class Launches(TorchDispatchMode):
    """Counts the launches on one device: `count[stage, kind]`, where kind is "product" or "other"."""

    def __init__(self, device: str):
        super().__init__()
        self.device, self.stage = device, "loss"
        self.count = collections.Counter[tuple[str, str]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        name = func.overloadpacket.__name__
        if (
            any(x.device.type == self.device for x in tensors)
            and not func.is_view
            and name not in ALLOCATIONS
        ):
            product = name.removesuffix("_backward").lstrip("_").startswith(PRODUCTS)
            self.count[self.stage, "product" if product else "other"] += 1
        return out

    def of(self, *stages: str, kind: str = "") -> int:
        """The launches of these stages, or of all; of one kind, or of both."""
        return sum(
            n for (stage, k), n in self.count.items() if stage in (stages or STAGES) and kind in ("", k)
        )

    def during(self, stage: str | Callable[[], str], call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, whose launches belong to `stage`."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            before, self.stage = self.stage, stage if isinstance(stage, str) else stage()
            try:
                return call(*args, **kwargs)
            finally:
                self.stage = before

        return counted


def of_a_step(trainer: Trainer, warm: int = 1) -> Launches:
    """The launches of a step without a log line after `warm` steps; `logging` is what a line of metrics adds."""
    for _ in range(warm):
        trainer.step()
    counted = Launches(torch.device(trainer.device).type)
    names = {"draws": "draws", "_mask": "masks", "_clip": "optimizer", "_update_averages": "averages"}
    if hasattr(trainer, "flat"):  # added after the first count
        gather = counted.during("backward", trainer.flat.gather_gradients)
        trainer.flat.gather_gradients = gather
    with contextlib.ExitStack() as stack:
        for name, stage in names.items():
            patched = counted.during(stage, getattr(trainer, name))
            stack.enter_context(mock.patch.object(trainer, name, patched))
        for name in ("step", "zero_grad"):
            patched = counted.during("optimizer", getattr(trainer.optimizer, name))
            stack.enter_context(mock.patch.object(trainer.optimizer, name, patched))
        passes = counted.during(_pass, Denoiser.__call__)
        stack.enter_context(
            mock.patch.object(
                Denoiser, "__call__", lambda self, *given, **named: passes(self, *given, **named)
            )
        )
        backward = counted.during("backward", torch.Tensor.backward)
        stack.enter_context(
            mock.patch.object(
                torch.Tensor, "backward", lambda self, *given, **named: backward(self, *given, **named)
            )
        )
        stack.enter_context(counted)
        trainer.step()
    return counted


def _pass() -> str:
    return "student" if torch.is_grad_enabled() else "teacher"


def of_a_line(steps: int, batch: int) -> int:
    """The launches of a line of metrics, which reads the losses of `steps` steps and sorts them by noise level."""
    blank = torch.ones(batch)
    terms = [Terms(blank, blank, blank.double(), blank.double(), blank) for _ in range(steps)]
    with Launches("cpu") as counted:
        torch.stack([blank.mean() for _ in terms]).double().cpu()
        noise_bins.by_level(terms, 0.002, 80.0)
    return counted.of() - steps


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """What `meta` lacks: generators, for which the CPU's stand, and an attention that is one operation, as on a GPU."""
    with (
        mock.patch("torch.Generator", _on_the_host),
        mock.patch("torch.nn.functional.scaled_dot_product_attention", _attention),
    ):
        yield


def _on_the_host(device: Any = "cpu", generator: Any = torch.Generator) -> torch.Generator:
    made: torch.Generator = generator("cpu")
    return made


def _attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)[0]
    return out


def blank(shape: tuple[int, ...], n: int) -> Images:
    """Images on `meta`."""
    train = torch.zeros(n, *shape, dtype=torch.uint8, device="meta")
    labels = torch.zeros(n, dtype=torch.int64, device="meta")
    return Images(train, labels, train[:4], labels[:4], 1, "x")


def trainer(name: str, images: Images | None = None, recipe: str = "ict") -> Trainer:
    """A training of a recipe with a profile's network in float32, on `meta` if there are no images."""
    profile, shape = load_profile(name), SHAPES[name]
    fitted = ablate.apply(ablate.load_recipe(recipe), adapted(ablate.load_recipe(recipe).specs(), profile))
    fitted = ablate.apply(fitted, {"precision": "fp32"}).for_images(shape)
    if images is None:
        return Trainer(fitted, profile, blank(shape, 2 * profile.batch), 0, "meta")
    return Trainer(fitted, profile, images, 0)


def counted(name: str) -> dict[str, list[int]]:
    """For each stage its launches, and how many of them are products."""
    with on_meta():
        t = trainer(name)
        found = of_a_step(t)
    by_stage = {stage: [found.of(stage), found.of(stage, kind="product")] for stage in STAGES}
    return by_stage | {"logging": [of_a_line(t.profile.log_every, t.profile.batch), 0]}


def milliseconds(steps: int = 30) -> float:
    """The median CPU time of a step on the digits."""
    t, took = trainer("digits", datasets.load(load_profile("digits").data)), []
    for _ in range(steps):
        before = time.process_time()
        t.step()
        took.append(1000 * (time.process_time() - before))
    return statistics.median(took[5:])


if __name__ == "__main__":
    if sys.argv[1:] == ["--time"]:
        print(milliseconds())
    else:
        print(json.dumps({name: counted(name) for name in sys.argv[1:]}))
