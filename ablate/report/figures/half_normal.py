"""Half-normal plot of the effects of a factorial: those that are noise lie on a line through zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ablate.analysis.factorial import Factorial
from ablate.analysis.results import Results
from ablate.report.figure import Figure
from ablate.report.style import blank, save, theme
from ablate.statistics.factorial import contrasts

LABELS = 10  # effects that are named


class HalfNormal(Figure):
    """A dot per effect of any order; nothing while a factorial is not complete."""

    ORDER, FILE, TITLE = 24, "half_normal.png", "Half-normal plot"
    CAPTION = (
        "The size of every effect, interactions of all orders included, over the quantile that it would have among "
        "as many effects of noise alone. The noise of cells follows the dashed curve, which is drawn where it is "
        "known. Effects can also vary from seed to seed, which the intervals of the page include and the curve does "
        f"not. The {LABELS} largest are named."
    )

    def draw(self, results: Results, path: Path) -> bool:
        """A panel per complete factorial."""
        shown = [factorial for factorial in results.factorials if factorial.fit and factorial.cells.complete]
        if not shown:
            return False
        with theme():
            figure, axes = blank(len(shown), 8.0, [4.6] * len(shown), share=False)
            for ax, factorial in zip(axes[:, 0], shown, strict=True):
                _panel(ax, factorial)
            save(figure, path)
        return True


def _panel(ax: Any, factorial: Factorial) -> None:
    import numpy as np
    import seaborn as sns
    from scipy.special import ndtri

    cells, fit = factorial.cells, factorial.fit
    found = sorted(contrasts(cells), key=lambda effect: abs(effect[1]))
    sizes = np.abs([value for _, value in found])
    at = ndtri(0.5 + 0.5 * (np.arange(len(found)) + 0.5) / len(found))
    orders = np.array([min(len(term), 3) for term, _ in found])
    palette = sns.color_palette("colorblind")
    for order, name in ((1, "main effect"), (2, "two axes"), (3, "three axes or more")):
        ax.scatter(at[orders == order], sizes[orders == order], s=22, color=palette[order - 1], label=name)
    if fit and fit.noise > 0:
        ax.plot(at, at * fit.noise, color="0.3", linestyle="--", linewidth=1)
    for place, i in enumerate(reversed(range(max(0, len(found) - LABELS), len(found)))):
        ax.annotate(
            cells.named(found[i][0]),
            (at[i], sizes[i]),
            (1.03, 0.97 - place / LABELS),
            textcoords="axes fraction",
            va="center",
            fontsize="small",
            arrowprops={"arrowstyle": "-", "color": "0.75", "linewidth": 0.6, "relpos": (0, 0.5)},
        )
    ax.set(xlabel="half-normal quantile", ylabel="size of the effect, log FID", yscale="log")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_title(" to ".join(factorial.ends), loc="left", fontsize="medium")
    ax.grid(color="0.92")
    ax.legend(frameon=False, fontsize="small", loc="lower right")
