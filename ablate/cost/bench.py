"""Measures how fast networks train here, compared with a matrix product, and how long each part of a step takes.

Images are random and have the profile's shape: no data set is read, and nothing is written.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.core.lazy import torch
from ablate.cost.estimate import Group, Timing
from ablate.cost.flops import passes
from ablate.cost.timing import clock, in_processes, peak_memory, print_measurement, step_times
from ablate.planning.cells import Cell
from ablate.runs.store import Folder, restore

if TYPE_CHECKING:
    from ablate.data.datasets import Images
    from ablate.training.trainer import Step, Trainer

PARTS = ("data", "teacher", "student", "backward", "optimizer", "ema", "log")
SIZE, PRODUCTS, PATIENCE_S = 2048, 20, 10.0  # of the matrix product: side, most repetitions, most seconds
IMAGES = 1024  # random ones


def speeds(groups: list[Group], threads: int, device: str) -> Iterator[dict[str, Any]]:
    """Measure one network and precision after another, each in a process of its own; yields entries of `bench --json`.

    network, precision, batch, parameters, cells (those without a record: missing); images_per_s; step_tflops and
    matmul_tflops, 10^12 operations a second of a training step and of a product of two 2048 x 2048 matrices in that
    precision, and their ratio `share`; peak_memory_mb; parts, seconds of a step; hours for all missing cells, one
    after another, without reading data and without features of samples.

    Raises:
        SpecError: a network cannot be trained here; the last line of its process.
    """
    for group in groups:
        (measured,) = in_processes("ablate.cost.bench", group.cells[0], threads, device)
        yield entry(group, measured)


def entry(group: Group, measured: dict[str, Any]) -> dict[str, Any]:
    """An entry of the list, from a group and what `measure` returned for it."""
    cell = group.cells[0]
    batch, seconds = cell.profile.batch, measured["step_s"]
    rate = passes(cell.recipe) * group.flops_forward * batch / seconds / 1e12
    # a sample is one forward pass without gradient, as the teacher's; no features are computed
    timing = Timing(step_s=seconds + measured["parts"]["log"], sample_s=measured["parts"]["teacher"] / batch)
    return {
        "network": cell.recipe.network.name,
        "precision": cell.recipe.precision.name,
        "batch": batch,
        "parameters": group.parameters,
        "cells": len(group.cells),
        "missing": group.missing,
        "images_per_s": batch / seconds,
        "step_tflops": rate,
        "matmul_tflops": measured["matmul_tflops"],
        "share": rate / measured["matmul_tflops"],
        "peak_memory_mb": measured["peak_memory_mb"],
        "parts": measured["parts"],
        "hours": group.missing * timing.cell_s(cell) / 3600,
    }


def format_entry(entry: dict[str, Any]) -> str:
    """An entry as text for the terminal."""
    total = sum(entry["parts"].values())
    parts = ", ".join(f"{name} {100 * s / total:.1f} %" for name, s in entry["parts"].items())
    return (
        f"{entry['network']}, {entry['parameters'] / 1e6:.3g}M parameters, {entry['precision']}, "
        f"batch {entry['batch']}: {entry['images_per_s']:.4g} images/s, {entry['step_tflops']:.3g} TFLOP/s, "
        f"{100 * entry['share']:.0f} % of a matrix product's {entry['matmul_tflops']:.3g}; "
        f"{entry['peak_memory_mb']:.0f} MB at most\n  {parts}\n"
        f"  {entry['hours']:.3g} hours for {entry['missing']} missing of {entry['cells']} cells, one after another"
    )


def measure(cell: Cell, device: str) -> dict[str, Any]:
    """Seconds of a step and of its parts, peak memory in 10^6 bytes, and the matrix product's rate in TFLOP/s."""
    from ablate.training.trainer import Trainer

    recipe = cell.recipe.from_scratch()
    trainer = Trainer(recipe, cell.profile, random_images(cell, device), cell.seed, device)
    laps, steps = Laps(trainer, device), list["Step"]()

    def step() -> None:
        laps.begin()
        steps.append(trainer.step())
        laps.mark("ema")

    took = step_times(step, trainer.K, clock(device))
    parts = laps.parts(len(took)) | {"log": log_s(cell, trainer, steps)}
    return {
        "step_s": statistics.median(took),
        "parts": {name: parts[name] for name in PARTS},
        "peak_memory_mb": peak_memory(device) / 1e6,
        "matmul_tflops": matmul_rate(cell.recipe.precision, device) / 1e12,
    }


def random_images(cell: Cell, device: str) -> Images:
    """Random images with the shape and classes of the cell's profile."""
    from ablate.data import datasets

    spec = cell.profile.data
    shape, classes = datasets.shape(spec), datasets.classes(spec) or 1
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES, *shape), generator=generator).to(device, torch.uint8)
    labels = torch.arange(IMAGES, device=device) % classes
    return datasets.Images(pixels, labels, pixels, labels, classes, "made up")


def log_s(cell: Cell, trainer: Trainer, steps: list[Step]) -> float:
    """Seconds per step that a training cell spends on reading and writing its losses."""
    from ablate.runs.loop import Run

    with tempfile.TemporaryDirectory(prefix="ablate-bench-") as place:
        run = Run(
            cell, Folder(Path(place)), trainer, random_images(cell, trainer.device), [], lambda *_: None
        )
        read = cell.profile.log_every
        run.unread = [steps[i % len(steps)] for i in range(read)]
        before = time.perf_counter()
        run.flush()
        return (time.perf_counter() - before) / read


def matmul_rate(precision: Any, device: str, patience: float = PATIENCE_S) -> float:
    """Operations a second of a product of two 2048 x 2048 matrices, the median of up to 20 in `patience` seconds."""
    kind = getattr(torch, precision.compute)
    a, b = (torch.randn(SIZE, SIZE, device=device).to(kind) for _ in range(2))
    now, took = clock(device), list[float]()
    with precision(device):
        began = now()
        while not took or (len(took) < PRODUCTS and now() - began < patience):
            before = now()
            a @ b
            took.append(now() - before)
    return float(2 * SIZE**3 / statistics.median(took[1:] or took))


class Laps:
    """Marks where one part of a trainer's step ends and the next begins, without synchronizing the device.

    `data` is everything before the first forward pass, dropout masks included; `backward` includes the loss.
    """

    def __init__(self, trainer: Trainer, device: str):
        self.device, self.steps = device, list[list[tuple[str, Any]]]()
        for network in {id(f.network): f.network for f in (trainer.f, trainer.teacher)}.values():
            network.register_forward_pre_hook(lambda *_: self.mark(self._before()))
            network.register_forward_hook(lambda *_: self.mark(self._passing()))
        trainer.optimizer.register_step_pre_hook(lambda *_: self.mark("backward"))
        trainer.optimizer.register_step_post_hook(lambda *_: self.mark("optimizer"))

    def begin(self) -> None:
        """Mark the beginning of a step."""
        self.steps.append([])
        self.mark("")

    def mark(self, name: str) -> None:
        """Mark the end of part `name`."""
        if self.device == "cpu":
            self.steps[-1].append((name, time.perf_counter()))
            return
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()  # type: ignore[no-untyped-call]
        self.steps[-1].append((name, event))

    def _passing(self) -> str:
        return "student" if torch.is_grad_enabled() else "teacher"

    def _before(self) -> str:
        """The part that ends when a network begins a forward pass."""
        return {"": "data", "student": "backward", "teacher": self._passing()}[self.steps[-1][-1][0]]

    def parts(self, last: int) -> dict[str, float]:
        """Mean seconds of each part over the `last` steps."""
        seconds = dict.fromkeys(PARTS, 0.0)
        for marks in self.steps[-last:]:
            for (_, before), (name, after) in itertools.pairwise(marks):
                seconds[name] += self._between(before, after) / last
        return seconds

    def _between(self, before: Any, after: Any) -> float:
        if self.device == "cpu":
            return float(after - before)
        after.synchronize()
        return float(before.elapsed_time(after)) / 1000


if __name__ == "__main__":  # THREADS DEVICE, a cell's config on standard input
    print_measurement(int(sys.argv[1]), lambda config: measure(restore(config), sys.argv[2]))
