"""FID and effects over the number of images, for experiments with `budgets`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ablate.analysis.budgets import Track
from ablate.analysis.results import Results
from ablate.report.figure import Figure
from ablate.report.style import blank, logarithmic, save, short, theme

MOST = 10  # rows whose colours differ enough
POINTS = 60  # of a curve


class Budgets(Figure):
    """One-step FID with the fitted laws, and effects with their intervals; nothing without two budgets."""

    ORDER, FILE, TITLE = 25, "budgets.png", "More images"
    CAPTION = (
        "Left: one-step FID; a dot is a run, a line the fitted law with its 95 % interval. Right: times the base's "
        f"FID, with 95 % intervals; below the dashed line, the row is better. At most {MOST} rows are shown."
    )

    def draw(self, results: Results, path: Path) -> bool:
        """Two panels over the number of images, both axes logarithmic."""
        import seaborn as sns

        tracks = [track for track in results.tracks if sum(map(bool, track.scores)) > 1][:MOST]
        if not tracks:
            return False
        with theme():
            figure, axes = blank(1, 10.0, [4.2], 2, below=0.25 * -(-len(tracks) // 3))
            for track, colour in zip(tracks, sns.color_palette("colorblind", MOST), strict=False):
                _fids(axes[0, 0], track, colour)
                _effects(axes[0, 1], track, colour)
            axes[0, 1].axhline(1.0, color="0.3", linewidth=1, linestyle="--", zorder=0)
            for ax, heading in zip(axes[0], ("FID, 1 step", "times the base's FID"), strict=True):
                ax.set(xlabel="images", ylabel=heading)
                logarithmic(ax, "x", "y")
                ax.set_xticks(tracks[0].images, [f"{n:,}" for n in tracks[0].images], minor=False)
                ax.set_xticks([], minor=True)
                ax.grid(color="0.92")
            figure.legend(
                *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
            )
            save(figure, path)
        return True


def _fids(ax: Any, track: Track, colour: Any) -> None:
    import numpy as np

    dots = [(n, fid) for n, scores in zip(track.totals, track.scores, strict=True) for fid in scores.values()]
    finite = [(n, fid) for n, fid in dots if 0 < fid < math.inf]
    ax.plot(*zip(*finite, strict=True), ".", color=colour, label=short(track.label, 40))
    if law := track.law:
        at = np.geomspace(min(track.totals), max(track.totals), POINTS)
        values, low, high = zip(*map(law.at, at), strict=True)
        ax.plot(at, values, color=colour, linewidth=1)
        ax.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)


def _effects(ax: Any, track: Track, colour: Any) -> None:
    if not (found := track.effects):
        return
    ratios = [one.ratio for one in found.values]  # a single seed has no interval, which NaN leaves out
    errors = [
        [one.ratio - one.low for one in found.values],
        [min(one.high, math.exp(20)) - one.ratio for one in found.values],
    ]
    ax.errorbar(found.images, ratios, errors, color=colour, marker="o", markersize=4, linewidth=1, capsize=2)
