"""FID of every row: means and single seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablate.analysis.frame import Column, Records, real_fid
from ablate.analysis.lines import LOST, Line, groups, lowest, title
from ablate.analysis.results import Results
from ablate.report.figure import Figure
from ablate.report.style import ROWS, blank, logarithmic, save, short, theme


class Fid(Figure):
    """Diamonds for means, dots for seeds, a panel per section; nothing before a FID is measured."""

    ORDER, FILE, TITLE, MOST = 10, "fid.png", "FID of every row", ROWS
    CAPTION = "Diamonds are means, dots are single seeds; the dashed line is the FID of real images."

    def draw(self, results: Results, path: Path) -> bool:
        """A line per row, or the rows with the lowest one-step FID."""
        columns = [c for c in results.measured if c.by]
        rows = lowest(results.lines, ROWS)
        panels = _panels(results, rows)
        points = _points(rows, columns)
        if not points:
            return False
        with theme():
            heights, legend = [0.27 * len(p) + 0.5 for _, p in panels], 0.6 + 0.14 * len(columns)
            figure, axes = blank(len(panels), 9.0, heights, below=legend)
            for ax, (name, shown) in zip(axes[:, 0], panels, strict=True):
                _panel(ax, name, shown, columns)
            _finish(figure, axes[:, 0], points, results.records, columns)
            if len(rows) < len(results.lines):
                heading = f"The {len(rows)} rows with the lowest one-step FID of {len(results.lines):,}"
                axes[0, 0].set_title(heading, loc="left")
            save(figure, path)
        return True


def _panels(results: Results, shown: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """Title and lines of every section that has lines to show."""
    kept, rows = {line.index for line in shown}, results.experiment.rows
    panels = [
        (title([rows[i] for i in group]), [results.lines[i] for i in group if i in kept])
        for group in groups(rows)
    ]
    return [(name, lines) for name, lines in panels if lines]


def _points(shown: Sequence[Line], columns: Sequence[Column]) -> list[float]:
    stats = [s for line in shown for c in columns if (s := line.stat("fid", c))]
    return [value for s in stats for value in s.by_seed.values()]


def _palette(columns: Sequence[Column]) -> dict[str, Any]:
    import seaborn as sns

    return dict(zip([c.heading for c in columns], sns.color_palette("colorblind", len(columns)), strict=True))


def _panel(ax: Any, name: str, shown: Sequence[Line], columns: Sequence[Column]) -> None:
    import pandas as pd
    import seaborn as sns

    seeds, means = [], []
    for place, line in enumerate(shown):
        for at, column in enumerate(columns):
            if stat := line.stat("fid", column):
                y = place + (at - (len(columns) - 1) / 2) * min(0.3, 0.7 / len(columns))
                means.append({"y": y, "FID": stat.mean, "measure": column.heading})
                seeds += [
                    {"y": y, "FID": value, "measure": column.heading} for value in stat.by_seed.values()
                ]
    drawn_as = {
        "x": "FID",
        "y": "y",
        "hue": "measure",
        "palette": _palette(columns),
        "ax": ax,
        "legend": False,
    }
    if means:
        sns.scatterplot(pd.DataFrame(means), s=62, marker="D", edgecolor="white", alpha=0.75, **drawn_as)
        sns.scatterplot(pd.DataFrame(seeds), s=13, edgecolor="black", linewidth=0.6, **drawn_as)
    ax.set_title(name, loc="left", fontsize="medium")
    _label(ax, shown)


def _label(ax: Any, shown: Sequence[Line]) -> None:
    """Row labels in table order; why a row has no point."""
    ax.set_yticks(range(len(shown)), [short(line.row.label, 60) for line in shown])
    ax.set(ylim=(len(shown) - 0.5, -0.5), ylabel="", axisbelow=True)
    ax.grid(color="0.92")
    drawn_as = {"va": "center", "ha": "center", "color": "0.4", "style": "italic"}
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for place, line in enumerate(shown):
        if not line.n:
            why = next((word for state, word in LOST.items() if line.states[state]), "no FID")
            ax.text(0.5, place, why, transform=ax.get_yaxis_transform(), bbox=behind, **drawn_as)


def _finish(
    figure: Any, axes: Any, points: Sequence[float], records: Records, columns: Sequence[Column]
) -> None:
    """One x axis for all panels, the FID of real images, a legend with every measure."""
    from matplotlib.lines import Line2D

    real = sorted(set(real_fid(records).values()))
    for ax, value in ((ax, value) for ax in axes for value in real):
        ax.axvline(value, color="0.3", linestyle="--", linewidth=1, zorder=0)
    positive = [v for v in [*points, *real] if v > 0]
    if positive and max(positive) > 10 * min(positive):
        logarithmic(axes[0], "x")
    axes[-1].set_xlabel("FID, lower is better")
    handles = [
        Line2D([], [], marker="D", linestyle="", color=c, label=n) for n, c in _palette(columns).items()
    ]
    handles += [Line2D([], [], marker="o", markersize=3, linestyle="", color="black", label="one seed")]
    if real:
        handles.append(Line2D([], [], linestyle="--", color="0.3", label="real against held-out real"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
