"""Where along the noise levels the loss lies: a line of squares per row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.analysis.lines import distinct, lowest
from ablate.analysis.loss_levels import binned
from ablate.analysis.results import Results
from ablate.report.figure import Figure
from ablate.report.style import blank, save, short, theme

if TYPE_CHECKING:
    import pandas as pd

ROWS = 16
MEASURES = {
    "share": "share of the loss",
    "gap": "distance between student and teacher",
    "gradient": "gradient with respect to the output",
}


class Levels(Figure):
    """Share of the loss, student-teacher gap and gradient by sigma; nothing where no cell has diagnostics."""

    ORDER, FILE, TITLE, MOST = 60, "levels.png", "Noise levels", ROWS
    CAPTION = (
        "Over the last quarter of training, by the student's noise level: the share of a row's loss, the distance "
        "between student and teacher in the row's metric, and the gradient with respect to the network's output."
    )

    def draw(self, results: Results, path: Path) -> bool:
        """The last quarter of training, over all seeds."""
        import pandas as pd

        rows = [line.row for line in lowest(distinct(results.lines), ROWS)]
        bins = {row.named: found for row in rows if len(found := binned(row, results.store))}
        self.shown = len(bins)
        if bins:
            _draw(pd.concat(bins, names=["row"]).reset_index(), path)
        return bool(bins)


def _draw(table: pd.DataFrame, path: Path) -> None:
    order = list(dict.fromkeys(table["row"]))
    shown = [v for v in MEASURES if table[v].notna().any()]  # older records lack some
    pivots = {v: table.pivot(index="row", columns="sigma", values=v).loc[order] for v in shown}
    with theme():
        height, below = 1.4 + 0.3 * len(order), 0.5
        figure, axes = blank(1, 1.5 + 5.2 * len(shown), [height], len(shown), below)
        for ax, (name, values) in zip(axes[0], pivots.items(), strict=True):
            _squares(ax, values, name == "share")
            ax.set(title=MEASURES[name], xlabel="sigma of the student")
        axes[0, 0].set_yticks(range(len(order)), [short(row, 48) for row in order])
        for ax in axes[0, 1:]:
            ax.set_yticks([])
        save(figure, path)


def _squares(ax: Any, values: pd.DataFrame, share: bool) -> None:
    """A square per number; colours are logarithmic except for a share. Zero has no colour."""
    import numpy as np

    numbers = values.to_numpy(dtype=float)
    colours = numbers if share else np.log10(np.where(numbers > 0, numbers, np.nan))
    ax.imshow(np.ma.masked_invalid(colours), cmap="cividis", aspect="auto")
    known = colours[np.isfinite(colours)]
    middle = (known.min() + known.max()) / 2 if len(known) else 0.0
    for y, x in np.argwhere(np.isfinite(numbers)):
        text = f"{numbers[y, x]:.0%}" if share else f"{numbers[y, x]:.0e}"
        ink = "white" if colours[y, x] < middle else "black"  # a zero has no colour: black on white
        ax.text(x, y, text, ha="center", va="center", color=ink, fontsize="small", in_layout=False)
    ax.set_xticks(range(len(values.columns)), [f"{sigma:.2g}" for sigma in values.columns])
    ax.grid(False)
    ax.spines[:].set_visible(False)
