"""How training went: a small panel per row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablate.analysis.lines import distinct, lowest
from ablate.analysis.results import Results
from ablate.report.figure import Figure
from ablate.report.style import ROWS, blank, logarithmic, save, short, theme
from ablate.runs.store import Store

POINTS = 300  # of a curve

Curve = tuple[str, list[float], list[float]]  # metric, images, values


class Curves(Figure):
    """FID during training if it was measured more than once, else the loss; nothing where no cell has a curve."""

    ORDER, FILE, TITLE, MOST = 50, "curves.png", "Training", ROWS
    CAPTION = "A colour is a seed. Losses of different metrics or weightings do not share a scale."

    def draw(self, results: Results, path: Path) -> bool:
        """A panel per row, a line per seed."""
        shown = [
            (line.row.named, curves)
            for line in lowest(distinct(results.lines), ROWS)
            if (curves := [c for key in line.row.keys if (c := _curve(results.store, key))])
        ]
        self.shown = len(shown)
        if shown:
            _draw(shown, path)
        return bool(shown)


def _draw(shown: Sequence[tuple[str, Sequence[Curve]]], path: Path) -> None:
    across = min(4, len(shown))
    down = -(-len(shown) // across)
    with theme():
        figure, axes = blank(down, 2.9 * across, [1.9] * down, across)
        for ax, (label, curves) in zip(axes.flat, shown, strict=False):
            _panel(ax, label, curves)
        for place in range(len(shown), axes.size):
            axes.flat[place].set_visible(False)
            axes.flat[place - across].tick_params(labelbottom=True)
        for ax in axes[:, 1:].flat:
            ax.set_ylabel("")
        save(figure, path)


def _curve(store: Store, key: str) -> Curve | None:
    """The curve of a cell that has ended: one-step FID if there are two values, else the loss."""
    if not store.record(key):
        return None
    written = store.folder(key).lines()
    for name in ("fid_1step", "loss"):
        points = [(line["images"], line["metrics"][name]) for line in written if name in line["metrics"]]
        if len(points) > 1:
            images, values = zip(*points[:: -(-len(points) // POINTS)], strict=True)
            return name, list(images), list(values)
    return None


def _panel(ax: Any, label: str, curves: Sequence[Curve]) -> None:
    import seaborn as sns

    for (_, images, values), colour in zip(curves, sns.color_palette("colorblind", len(curves)), strict=True):
        ax.plot(images, values, color=colour, linewidth=0.9)
    ax.set_title(short(label, 34), fontsize="small")
    ax.grid(color="0.92")
    ax.set(ylabel="FID, 1 step" if curves[0][0] == "fid_1step" else "loss", xlabel="images")
    if all(value > 0 for _, _, values in curves for value in values):
        logarithmic(ax, "y")
