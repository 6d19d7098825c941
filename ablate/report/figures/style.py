"""The figure of all rows' FIDs, and what all figures share; pyplot is not used, so no window is needed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.analysis.frame import Column, Records, columns, floors
from ablate.analysis.lines import Line, groups, lines, title

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.experiment import Experiment

MOST = 40  # rows of fid.png
DPI = 110
WORDS = {"diverged": "diverged", "failed": "failed", "missing": "not run"}


@contextmanager
def house() -> Iterator[None]:
    """The look of all figures; the caller's own settings come back afterwards."""
    import matplotlib
    import seaborn as sns

    with (
        matplotlib.rc_context(),
        sns.axes_style("whitegrid"),
        sns.plotting_context("notebook", font_scale=0.8),
    ):
        yield


def blank(
    rows: int, width: float, heights: Sequence[float], across: int = 1, below: float = 0.0
) -> tuple[Any, Any]:
    """A figure of `rows` times `across` axes that share their x axis, with room `below` them for a legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, sum(heights) + below), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, across, squeeze=False, height_ratios=heights, sharex=True)


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG of 128 colours, which is a third of the bytes, whole or not at all.

    Drawn once on its canvas: `savefig` draws everything twice, first for its layout alone.
    """
    import numpy as np
    from PIL import Image

    from ablate.core.files import whole

    figure.set_dpi(DPI)
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    with whole(path) as temporary:
        picture.quantize(128, dither=Image.Dither.NONE).save(temporary, format="PNG")


def logarithmic(ax: Any, *names: str) -> None:
    """Makes the axes `names`, "x" or "y", logarithmic with plain numbers, also where they span less than a decade."""
    from matplotlib.ticker import LogLocator, NullLocator

    for name in names:
        getattr(ax, f"set_{name}scale")("log")
        axis = getattr(ax, f"{name}axis")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{value:g}")


def chosen(results: Sequence[Line], most: int) -> list[int]:
    """The rows that a figure shows: all, or the `most` with the lowest one-step FID, in table order."""
    if len(results) <= most:
        return [line.index for line in results]

    def worth(line: Line) -> float:
        return min(
            (s.mean for (*measure, _), s in line.stats.items() if measure == ["fid", 1]), default=1e300
        )

    return sorted(line.index for line in sorted(results, key=worth)[:most])


def fid(experiment: Experiment, table: pd.DataFrame, known: Records, path: Path) -> bool:
    """Means as diamonds and seeds as dots, a panel per section; False where nothing is measured."""
    results, measured = lines(experiment, table), [c for c in columns(table, ()) if c.by]
    rows = chosen(results, MOST)
    kept = [
        (title([experiment.rows[i] for i in g]), [i for i in g if i in set(rows)])
        for g in groups(experiment.rows)
    ]
    panels = [(name, [results[i] for i in panel]) for name, panel in kept if panel]
    points = _points([results[i] for i in rows], measured)
    if not points:
        return False
    with house():
        heights, legend = [0.27 * len(p) + 0.5 for _, p in panels], 0.6 + 0.14 * len(measured)
        figure, axes = blank(len(panels), 9.0, heights, below=legend)
        for ax, (name, shown) in zip(axes[:, 0], panels, strict=True):
            _panel(ax, name, shown, measured)
        _finish(figure, axes[:, 0], points, known, measured)
        if len(rows) < len(results):
            axes[0, 0].set_title(
                f"The {len(rows)} rows with the lowest one-step FID of {len(results):,}", loc="left"
            )
        save(figure, path)
    return True


def _points(shown: Sequence[Line], measured: Sequence[Column]) -> list[float]:
    stats = [s for line in shown for c in measured if (s := line.stat("fid", c))]
    return [value for s in stats for value in s.by_seed.values()]


def _palette(measured: Sequence[Column]) -> dict[str, Any]:
    import seaborn as sns

    return dict(
        zip([c.heading for c in measured], sns.color_palette("colorblind", len(measured)), strict=True)
    )


def _panel(ax: Any, name: str, shown: Sequence[Line], measured: Sequence[Column]) -> None:
    import pandas as pd
    import seaborn as sns

    seeds, means = [], []
    for place, line in enumerate(shown):
        for at, column in enumerate(measured):
            if stat := line.stat("fid", column):
                y = place + (at - (len(measured) - 1) / 2) * min(0.3, 0.7 / len(measured))
                means.append({"y": y, "FID": stat.mean, "measure": column.heading})
                seeds += [
                    {"y": y, "FID": value, "measure": column.heading} for value in stat.by_seed.values()
                ]
    look = {"x": "FID", "y": "y", "hue": "measure", "palette": _palette(measured), "ax": ax, "legend": False}
    if means:
        sns.scatterplot(pd.DataFrame(means), s=62, marker="D", edgecolor="white", alpha=0.75, **look)
        sns.scatterplot(pd.DataFrame(seeds), s=13, edgecolor="black", linewidth=0.6, **look)
    ax.set_title(name, loc="left", fontsize="medium")
    _label(ax, shown)


def _label(ax: Any, shown: Sequence[Line]) -> None:
    """Row labels in table order, and why a row has no point."""
    labels = [textwrap.shorten(line.row.label, 60, placeholder=" ...") for line in shown]
    ax.set_yticks(range(len(shown)), labels)
    ax.set(ylim=(len(shown) - 0.5, -0.5), ylabel="", axisbelow=True)
    ax.grid(color="0.92")
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for place, line in enumerate(shown):
        if not line.n:
            why = next((word for state, word in WORDS.items() if line.states[state]), "no FID")
            at = ax.get_yaxis_transform()
            ax.text(
                0.5,
                place,
                why,
                transform=at,
                va="center",
                ha="center",
                color="0.4",
                style="italic",
                bbox=behind,
            )


def _finish(
    figure: Any, axes: Any, points: Sequence[float], known: Records, measured: Sequence[Column]
) -> None:
    """One x axis for all panels, floors, a legend that names every measure."""
    from matplotlib.lines import Line2D

    real = sorted(set(floors(known).values()))
    for ax, floor in ((ax, floor) for ax in axes for floor in real):
        ax.axvline(floor, color="0.3", linestyle="--", linewidth=1, zorder=0)
    positive = [v for v in [*points, *real] if v > 0]
    if positive and max(positive) > 10 * min(positive):
        logarithmic(axes[0], "x")
    axes[-1].set_xlabel("FID, lower is better")
    handles = [
        Line2D([], [], marker="D", linestyle="", color=c, label=n) for n, c in _palette(measured).items()
    ]
    handles += [Line2D([], [], marker="o", markersize=3, linestyle="", color="black", label="one seed")]
    handles += (
        [Line2D([], [], linestyle="--", color="0.3", label="real against held-out real")] if real else []
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
