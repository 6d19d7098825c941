"""One step against two, and FID against what a row costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.analysis.frame import columns
from ablate.analysis.lines import lines
from ablate.report.figures.style import MOST, chosen, house, logarithmic, save

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.experiment import Experiment

Point = tuple[int, float, float]  # number of the row in the table, x, y


def tradeoff(experiment: Experiment, table: pd.DataFrame, path: Path) -> bool:
    """Two panels of the rows' means, each row by its number in the table; False where fewer than two have both."""
    results, seen = lines(experiment, table), columns(table, ())
    one, two = (next((c for c in seen if c.nfe == nfe), None) for nfe in (1, 2))
    rows = [results[i] for i in chosen(results, MOST)]
    if one is None or two is None:
        return False
    steps = [
        (x.index + 1, a.mean, b.mean) for x in rows if (a := x.stat("fid", one)) and (b := x.stat("fid", two))
    ]
    costs = [(x.index + 1, x.seconds, a.mean) for x in rows if x.wall_s and (a := x.stat("fid", one))]
    if len(steps) < 2 or len(costs) < 2:
        return False
    _draw(steps, costs, path)
    return True


def _draw(steps: list[Point], costs: list[Point], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with house():
        figure = Figure(figsize=(10.0, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _scatter(left, steps, "FID, 1 step", "FID, 2 steps")
        logarithmic(left, "x", "y")
        ends = [min(v for _, *xy in steps for v in xy), max(v for _, *xy in steps for v in xy)]
        left.plot(ends, ends, color="0.5", linestyle="--", linewidth=1, zorder=0)
        _scatter(right, costs, "seconds of a worker per cell", "FID, 1 step")
        logarithmic(right, "y")
        save(figure, path)


def _scatter(ax: Any, points: list[Point], across: str, up: str) -> None:
    import seaborn as sns

    colour = sns.color_palette("colorblind")[0]
    ax.scatter([x for _, x, _ in points], [y for *_, y in points], color=colour, s=22)
    for number, x, y in points:
        look = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": "x-small", "in_layout": False}
        ax.annotate(str(number), (x, y), **look)
    ax.set(xlabel=across, ylabel=up)
    ax.grid(color="0.92")
