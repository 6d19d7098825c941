"""How training went: a small panel per row."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.analysis.lines import lines
from ablate.report.figures.style import blank, chosen, house, logarithmic, save

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store

PANELS, POINTS = 12, 300  # rows that are shown, points of a curve


def curves(experiment: Experiment, store: Store, table: pd.DataFrame, path: Path) -> bool:
    """FID in training if measured more than once, else the loss; a panel per row, a line per seed."""
    distinct = {line.row.keys: line for line in reversed(lines(experiment, table))}  # equal rows, one panel
    results = sorted(distinct.values(), key=lambda line: line.index)
    at = {line.index: line for line in results}
    shown = [at[i] for i in chosen(results, PANELS)]
    found = {line.index: [p for key in line.row.keys if (p := _curve(store, key))] for line in shown}
    shown = [line for line in shown if found[line.index]]
    if not shown:
        return False
    across = min(4, len(shown))
    down = -(-len(shown) // across)
    with house():
        figure, axes = blank(down, 2.9 * across, [1.9] * down, across)
        for ax, line in zip(axes.flat, shown, strict=False):
            _curves(ax, line.row.label, found[line.index])
        for place in range(len(shown), axes.size):
            axes.flat[place].set_visible(False)
            axes.flat[place - across].tick_params(labelbottom=True)
        for ax in axes[:, 1:].flat:
            ax.set_ylabel("")
        save(figure, path)
    return True


def _curve(store: Store, key: str) -> tuple[str, list[float], list[float]] | None:
    """Name, images and values of the metric that tells most about a cell that has ended."""
    if not store.record(key):
        return None
    written = store.folder(key).lines()
    for name in ("fid_1step", "loss"):
        points = [(line["images"], line["metrics"][name]) for line in written if name in line["metrics"]]
        if len(points) > 1:
            images, values = zip(*points[:: -(-len(points) // POINTS)], strict=True)
            return name, list(images), list(values)
    return None


def _curves(ax: Any, label: str, found: Sequence[tuple[str, list[float], list[float]]]) -> None:
    import seaborn as sns

    for (_, images, values), colour in zip(found, sns.color_palette("colorblind", len(found)), strict=True):
        ax.plot(images, values, color=colour, linewidth=0.9)
    ax.set_title(textwrap.shorten(label, 34, placeholder=" ..."), fontsize="small")
    ax.grid(color="0.92")
    ax.set(ylabel="FID, 1 step" if found[0][0] == "fid_1step" else "loss", xlabel="images")
    if all(value > 0 for _, _, values in found for value in values):
        logarithmic(ax, "y")
