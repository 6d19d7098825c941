"""Main effects and two-way interactions of a factorial as a map."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ablate.analysis.factorial import Factorial
from ablate.analysis.results import Results
from ablate.report.figure import Figure
from ablate.report.style import blank, save, short, theme
from ablate.statistics.significance import ALPHA


class Interactions(Figure):
    """A square per pair of axes, main effects on the diagonal; nothing without a factorial."""

    ORDER, FILE, TITLE = 22, "interactions.png", "Main effects and interactions"
    CAPTION = (
        "How many times as high FID is: on the diagonal with the axis at `to` instead of `from`, elsewhere with both "
        "axes changed or neither instead of only one. Blue lowers FID and red raises it, in full colour from the "
        "largest interaction on. Bold is significant. In a fraction, aliased effects show the same number."
    )

    def draw(self, results: Results, path: Path) -> bool:
        """A panel per factorial."""
        shown = [factorial for factorial in results.factorials if factorial.fit]
        if not shown:
            return False
        with theme():
            sizes = [0.72 * len(factorial.cells.axes) + 1.3 for factorial in shown]
            figure, axes = blank(len(shown), max(sizes) + 2.2, sizes, share=False)
            for ax, factorial in zip(axes[:, 0], shown, strict=True):
                _panel(ax, factorial)
            save(figure, path)
        return True


def _panel(ax: Any, factorial: Factorial) -> None:
    import numpy as np
    import seaborn as sns

    axes, fit = factorial.cells.axes, factorial.fit
    assert fit
    logs, words, sure = np.zeros((len(axes),) * 2), np.full((len(axes),) * 2, "", dtype=object), set()
    for i in range(len(axes)):
        for j in range(i + 1):
            if effect := fit.of((i,) if i == j else (j, i)):
                logs[i, j], words[i, j] = effect.value, f"×{math.exp(effect.value):.3g}"
                sure |= {(i, j)} if effect.corrected <= ALPHA else set()
    names = [short(axis, 18) for axis in axes]
    most = max(float(np.abs(np.tril(logs, -1)).max()), 1e-3)  # a main effect can dwarf every interaction
    drawn_as = {"cmap": "vlag", "vmin": -most, "vmax": most, "linewidths": 1.0, "square": True}
    mask = np.triu(np.ones_like(logs, dtype=bool), 1)
    sns.heatmap(
        logs,
        mask=mask,
        annot=words,
        fmt="",
        xticklabels=names,
        yticklabels=names,
        ax=ax,
        cbar_kws={"extend": "both"},
        **drawn_as,
    )
    bar = ax.collections[0].colorbar
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"×{math.exp(value):.2f}")
    places = [(i, j) for i in range(len(axes)) for j in range(i + 1)]
    for text, place in zip(ax.texts, places, strict=True):
        text.set(fontsize="small", **({"fontweight": "bold"} if place in sure else {"color": "0.45"}))
    ax.tick_params(axis="x", rotation=35)
    ax.tick_params(axis="y", rotation=0)
    ax.set_title(" to ".join(factorial.ends), loc="left", fontsize="medium")
    ax.grid(False)
