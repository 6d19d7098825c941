"""One step against two, and FID against what a row costs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ablate.analysis.lines import distinct, lowest
from ablate.analysis.results import Results
from ablate.report.figure import Figure
from ablate.report.style import DPI, ROWS, blank, logarithmic, save, theme

Point = tuple[int, float, float]  # number of the row in the table, x, y

DOT, NEAR = 4, 9  # half a point's width in pixels; distance in points from which on a number needs a line
PLACES = [  # of a number around its point, in points, the nearest first
    (far * math.cos(turn), far * math.sin(turn))
    for far in range(8, 60, 5)
    for turn in (math.pi * (i / 6 + 1 / 4) for i in range(12))
]


class Tradeoff(Figure):
    """Two panels of the rows' means, a number for each row; nothing where fewer than two rows have both."""

    ORDER, FILE, TITLE, MOST = 40, "tradeoff.png", "Two steps, and cost", ROWS
    CAPTION = (
        "Means over seeds; the numbers count the rows of the table from the top. Above the dashed line, a second step "
        "makes a row worse. Wall time depends on the machine that computed a cell."
    )

    def draw(self, results: Results, path: Path) -> bool:
        """One-step FID against two-step FID, and seconds per cell against one-step FID."""
        one, two = (next((c for c in results.measured if c.nfe == nfe), None) for nfe in (1, 2))
        if one is None or two is None:
            return False
        rows = [
            (x, a, x.stat("fid", two))
            for x in lowest(distinct(results.lines), ROWS)
            if (a := x.stat("fid", one))
        ]
        steps = [(x.index + 1, a.mean, b.mean) for x, a, b in rows if b]
        costs = [(x.index + 1, x.seconds, a.mean) for x, a, _ in rows if x.wall_s]
        if len(steps) < 2 or len(costs) < 2:
            return False
        _draw(steps, costs, path)
        return True


def _draw(steps: list[Point], costs: list[Point], path: Path) -> None:
    with theme():
        figure, axes = blank(1, 10.0, [4.6], 2, share=False)
        left, right = axes[0]
        _scatter(left, steps, "FID, 1 step", "FID, 2 steps")
        logarithmic(left, "x", "y")
        ends = [min(v for _, *xy in steps for v in xy), max(v for _, *xy in steps for v in xy)]
        left.plot(ends, ends, color="0.5", linestyle="--", linewidth=1, zorder=0)
        _scatter(right, costs, "seconds of a worker per cell", "FID, 1 step")
        logarithmic(right, "y")
        figure.set_dpi(DPI)
        figure.draw_without_rendering()  # from now on, the axes stay where they are
        _label(left, steps)
        _label(right, costs)
        save(figure, path)


def _scatter(ax: Any, points: list[Point], across: str, up: str) -> None:
    import seaborn as sns

    colour = sns.color_palette("colorblind")[0]
    ax.scatter([x for _, x, _ in points], [y for *_, y in points], color=colour, s=22)
    ax.set(xlabel=across, ylabel=up)
    ax.grid(color="0.92")


def _label(ax: Any, points: list[Point]) -> None:
    """Write each number at the nearest place that covers no point and no other number, with a line from afar."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    renderer, dots = ax.figure.canvas.get_renderer(), ax.transData.transform([xy for _, *xy in points])
    taken = [Bbox.from_bounds(x - DOT, y - DOT, 2 * DOT, 2 * DOT) for x, y in dots]
    for number, x, y in points:
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": "0.5", "shrinkA": 1, "shrinkB": 0}
        drawn_as = {"textcoords": "offset points", "fontsize": "x-small", "ha": "center", "va": "center"}
        text = ax.annotate(str(number), (x, y), xytext=(0, 0), arrowprops=line, in_layout=False, **drawn_as)
        for place in PLACES:
            text.set_position(place)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)
            if not any(box.overlaps(other) for other in taken):
                break
        text.arrow_patch.set_visible(math.hypot(*place) > NEAR)
        taken.append(box)
