"""The change of every row against its base, with intervals; in a ladder a bar starts where the one above ends."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ablate.analysis.lines import groups, lowest, title
from ablate.analysis.results import Results
from ablate.analysis.verdicts import Versus
from ablate.report.figure import Figure
from ablate.report.style import ROWS, blank, save, short, theme

Bar = tuple[str, Versus, float]  # label, comparison, where it starts
WORDS = "significantly worse", "significantly better", "not significant"


class Effects(Figure):
    """Ratios of one-step FID with 95 % intervals, a panel per section; nothing where no row has a base."""

    ORDER, FILE, TITLE, MOST = 20, "effects.png", "Changes", ROWS
    CAPTION = (
        "What each row changes, with its 95 % interval over seeds; grey is not significant. In a ladder, each bar "
        "starts where the one above it ended."
    )

    def draw(self, results: Results, path: Path) -> bool:
        """A bar from the base to the row."""
        rows = results.experiment.rows
        shown = {line.index for line in lowest(results.lines, ROWS)}
        panels = [(title([rows[i] for i in group]), _bars(results, group, shown)) for group in groups(rows)]
        panels = [(name, bars) for name, bars in panels if bars]
        if not panels:
            return False
        with theme():
            heights = [0.27 * len(bars) + 0.6 for _, bars in panels]
            figure, axes = blank(len(panels), 9.0, heights, below=0.6)
            for ax, (name, bars) in zip(axes[:, 0], panels, strict=True):
                _panel(ax, name, bars)
            _scale(
                axes[-1, 0], [v for _, bars in panels for _, e, s in bars for v in (s, s * e.effect.ratio)]
            )
            axes[-1, 0].set_xlabel("times the base's FID; in a ladder, times the first row's")
            _legend(figure)
            save(figure, path)
        return True


def _bars(results: Results, group: Sequence[int], shown: Collection[int]) -> list[Bar]:
    """The shown rows that have a base; each step of a ladder starts where the one before it ended."""
    bars, reached = list[Bar](), dict[int, float]()
    for i in group:
        entry, row = results.versus[i], results.experiment.rows[i]
        if entry is None or not 0 < entry.effect.ratio < math.inf:
            continue
        start = reached.get(entry.base, 1.0) if row.section == "ladder" else 1.0
        reached[i] = start * entry.effect.ratio
        if i in shown:
            bars.append((row.label, entry, start))
    return bars


def _panel(ax: Any, name: str, bars: Sequence[Bar]) -> None:
    worse, better, neither = _colours()
    for y, (_, entry, start) in enumerate(bars):
        pair = entry.effect
        colour = neither if not entry.decided else worse if pair.ratio > 1 else better
        ax.plot([start, start * pair.ratio], [y, y], color=colour, linewidth=7, solid_capstyle="butt")
        if pair.low > 0 and pair.high < 1e6:
            ax.plot([start * pair.low, start * pair.high], [y, y], color="0.2", linewidth=1)
        ax.plot(start * pair.ratio, y, marker="|", color="black", markersize=9)
    ax.axvline(1.0, color="0.3", linewidth=1, linestyle="--", zorder=0)
    ax.set_xscale("log")
    ax.set_yticks(range(len(bars)), [short(label, 60) for label, *_ in bars])
    ax.set(ylim=(len(bars) - 0.5, -0.5), axisbelow=True)
    ax.grid(color="0.92")
    ax.set_title(name, loc="left", fontsize="medium")


def _scale(ax: Any, ends: Sequence[float]) -> None:
    """One axis for all panels, by the bars alone: an interval from two seeds can be wider than any figure."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = min(ends) / 2, max(ends) * 2
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _colours() -> tuple[Any, Any, str]:
    """The colours of worse, better and not significant."""
    import seaborn as sns

    palette = sns.color_palette("colorblind")
    return palette[3], palette[0], "0.7"


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=c, linewidth=7, label=w) for c, w in zip(_colours(), WORDS, strict=True)]
    handles.append(Line2D([], [], color="0.2", linewidth=1, label="95 % interval"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
