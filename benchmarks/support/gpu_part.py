"""What benchmarks/gpu.py measures in a process of its own: a trainer's steps, a plain loop's, or an evaluation.

`python gpu_part.py PART DEVICE CHANGES`; prints its numbers as JSON in the last line.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import plain

from ablate.core.hardware import cores, use
from ablate.cost import bench
from ablate.cost.flops import count_flops
from ablate.cost.timing import clock, peak_memory, step_times
from ablate.evaluation import classifier, evaluate, extractors, ruler
from ablate.planning import planner
from ablate.planning.cells import Cell
from ablate.training.sampling import generate
from ablate.training.trainer import Trainer

FILE = Path(__file__).parents[2] / "experiments" / "bench_ncsnpp.yaml"


def trained(cell: Cell, device: str) -> dict[str, float]:
    """Steps of the trainer."""
    return timed(cell, device, lambda: Trainer(cell.recipe, cell.profile, _images(cell, device), 0, device))


def plainly(cell: Cell, device: str) -> dict[str, float]:
    """Steps of an eager loop in plain torch, with the same network, optimizer, average and autocast."""

    def steps() -> Iterator[float]:
        network = plain.usual_dropout(cell.recipe.network(_images(cell, "cpu").shape, 0)).to(device)
        images = _images(cell, device).train.float() / 127.5 - 1
        return plain.steps(cell, network, images)

    return timed(cell, device, steps)


def timed(cell: Cell, device: str, make: Callable[[], Any]) -> dict[str, float]:
    """Seconds until the first step is done and of later ones, and the share of a matrix product's rate."""
    now = clock(device)
    began, steps = now(), iter(make())
    next(steps)
    first = now() - began
    took = statistics.median(step_times(lambda: next(steps), cell.profile.steps - 1, now))
    flops = count_flops(cell.recipe, cell.profile)
    rate, product = (
        flops["flops_step"] * cell.profile.batch / took,
        bench.matmul_rate(cell.recipe.precision, device),
    )
    return {
        "first_s": first,
        "step_s": took,
        "images_per_s": cell.profile.batch / took,
        "step_tflops": rate / 1e12,
        "matmul_tflops": product / 1e12,
        "share": rate / product,
        "peak_gb": peak_memory(device) / 1e9,
        "parameters": flops["parameters"],
    }


def evaluated(cell: Cell, device: str) -> dict[str, float]:
    """Seconds of sampling at one and two steps, and of the metrics by a classifier that was hardly trained."""
    n, batch, images = (
        cell.profile.evaluation.samples,
        cell.profile.evaluation.batch,
        _images(cell, device, 64),
    )
    f, levels = Trainer(cell.recipe, cell.profile, images, 0, device).average, cell.recipe.levels
    found, now = dict[str, float](), clock(device)
    with tempfile.TemporaryDirectory(prefix="ablate-gpu-") as place:
        file = Path(place) / f"rulers{ruler.SUFFIX}"
        known = classifier.made(images, seen=64)
        ruler.write(known, file)
        by = evaluate.Extractor(extractors.OURS, known.label, file, str(classifier.FEATURES))
        real = images.train.repeat(-(-n // len(images.train)), 1, 1, 1)[:n]
        against = evaluate.Reference("made-up", real)
        for sigmas in ([levels.sigma_max], [levels.sigma_max, 0.821]):
            before = now()
            x = generate(f, images.shape, n, sigmas, levels.sigma_min, 0, batch, device)
            pixels = evaluate.to_uint8(x.nan_to_num())
            sampled = now()
            evaluate.measure(pixels, against, by, Path(place), device)
            steps = len(sigmas)
            found |= {f"sample{steps}_s": sampled - before, f"measure{steps}_s": now() - sampled}
    return found | {"samples": n}


def _images(cell: Cell, device: str, n: int | None = None) -> Any:
    images = bench.random_images(cell, device)
    if n:
        images.train_labels = torch.arange(len(images.train), device=device) % 2
        images.test_labels, images.classes = images.train_labels, 2
        images.test = images.train
    return images


PARTS: dict[str, Callable[[Cell, str], dict[str, float]]] = {
    "trained": trained,
    "plainly": plainly,
    "evaluated": evaluated,
}

if __name__ == "__main__":
    part, device, changes = sys.argv[1:]
    use(1 if device == "cpu" else cores())  # on a CPU nothing is measured
    cell = next(iter(planner.load(FILE, overrides=json.loads(changes)).cells.values()))
    print(json.dumps(PARTS[part](cell, device)))
