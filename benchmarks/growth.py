"""How time and memory grow: `python benchmarks/growth.py` draws docs/growth.png, prints fitted exponents.

Time against images seen (of one training), images a step (of one step) and cells (of a whole `run`); the
exponent is the slope of the logarithms, 1 where twice as much takes twice as long. Memory after many steps
against that after few.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from planning import SETS, ablate
from support.command import QUICK, parser
from support.results import Row, save, seconds

from ablate.core.hardware import use
from ablate.data import datasets
from ablate.planning import planner

if TYPE_CHECKING:
    from ablate.training.trainer import Trainer

FILE = Path(__file__).parents[1] / "experiments" / "table1.yaml"
PICTURE = Path(__file__).parents[1] / "docs" / "growth.png"
IMAGES = (160, 320, 640) if QUICK else (320, 640, 1280, 2560)
BATCHES = (4, 16) if QUICK else (16, 32, 64, 128, 256)
CELLS = (1, 2) if QUICK else (4, 8, 16, 32)
REPEATS = 1 if QUICK else 5
Curve = dict[int, float]


def trainer(images: int, batch: int = 16) -> Trainer:
    """Of the iCT row on digits, for so many images in all."""
    from ablate.training.trainer import Trainer

    changes = {"profile.images": images, "profile.batch": batch}
    cell = list(planner.load(FILE, overrides=changes).cells.values())[-1]
    return Trainer(cell.recipe, cell.profile, datasets.load(cell.profile.data), cell.seed)


def exponent(curve: Curve) -> float:
    """The slope of log time over log size."""
    x, y = np.log([*curve]), np.log([*curve.values()])
    return float(np.polyfit(x, y, 1)[0])


def in_images() -> Curve:
    """Seconds of a training of so many images, medians of runs that alternate."""
    took: dict[int, list[float]] = {n: [] for n in IMAGES}
    for _ in range(1 if QUICK else 3):
        for n in IMAGES:
            training = trainer(n)
            took[n].append(seconds(lambda: [None for _ in training]))  # noqa: B023
    return {n: statistics.median(s) for n, s in took.items()}


def in_batch() -> Curve:
    """Seconds of a step of so many images."""
    trainers = {batch: trainer(64 * batch, batch) for batch in BATCHES}
    took: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for _ in range(1 + REPEATS):
        for batch, training in trainers.items():
            took[batch].append(seconds(training.step))
    return {batch: statistics.median(s[1:]) for batch, s in took.items()}


def in_cells() -> Curve:
    """Seconds of a `run` of so many small cells, start and report included."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="ablate-growth-") as home:
        place = Path(home)
        for turn, n in enumerate((1, *CELLS)):
            values = [round(0.01 + turn + i / 1000, 4) for i in range(n)]
            file = place / f"cells{turn}.yaml"
            file.write_text(f"name: cells{turn}\nplan: [{{grid: {{metric.c: {values}}}}}]\n")
            found[n, turn] = seconds(lambda: ablate(place, "run", str(file), *SETS, "--no-doctor"))  # noqa: B023
    return {n: s for (n, turn), s in found.items() if turn}  # the first made the extractor


def memory() -> tuple[float, float]:
    """Megabytes in memory after a twentieth of the steps, and after all."""
    steps, process, seen = (40 if QUICK else 600), psutil.Process(), []
    training = trainer(16 * steps)
    for step in training:
        seen += [process.memory_info().rss / 1e6] if step.k in (max(1, steps // 20), steps) else []
    return seen[0], seen[1]


def draw(curves: dict[str, Curve]) -> None:
    """A panel a curve, with the line of exponent 1 through its first point."""
    import seaborn as sns
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    sns.set_theme(style="whitegrid", palette="colorblind")
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, curve) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        sizes: Sequence[int] = [*curve]
        axes.loglog(sizes, [*curve.values()], "o-", label=f"measured: exponent {exponent(curve):.2f}")
        line = [curve[sizes[0]] * n / sizes[0] for n in sizes]
        axes.loglog(sizes, line, "--", color="gray", label="in proportion")
        axes.set(xlabel=name, ylabel="seconds")
        axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.legend(fontsize=8)
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    """Four rows and a picture."""
    use(1)
    curves = {
        "images of a training": in_images(),
        "images of a step": in_batch(),
        "cells of a run": in_cells(),
    }
    early, late = memory()
    rows = [
        Row(
            f"exponent of time in {name}",
            "1.05",
            f"{exponent(c):.3f}",
            f"digits, {min(c)} to {max(c)}, one thread",
        )
        for name, c in curves.items()
    ]
    grown = f"{100 * (late / early - 1):.1f} %: {early:.0f} to {late:.0f} MB"
    rows.append(
        Row("growth of memory over steps", "0", grown, "digits, resident size, last step against a twentieth")
    )
    save("growth", rows, {"curves": curves, "memory_mb": [early, late]})
    if not QUICK:
        draw(curves)


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
