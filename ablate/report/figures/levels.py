"""Where along the noise levels the loss lies, a line of squares per row."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.analysis.lines import lines
from ablate.report.figures.style import blank, chosen, house, save
from ablate.training import noise_bins

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.cells import Row
    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store

ROWS, LAST = 16, 0.75  # rows that are shown; from which part of training on
MEASURES = {
    "share": "share of the loss",
    "gap": "distance of student and teacher",
    "gradient": "gradient by the network's output",
}


def levels(experiment: Experiment, store: Store, table: pd.DataFrame, path: Path) -> bool:
    """Share of the loss, student-teacher gap and gradient by sigma, over the last quarter of training and all seeds."""
    import pandas as pd

    distinct = {line.row.keys: line for line in reversed(lines(experiment, table))}  # equal rows once
    results = sorted(distinct.values(), key=lambda line: line.index)
    at = {line.index: line for line in results}
    found = {at[i].row.label: binned(at[i].row, store) for i in chosen(results, ROWS)}
    found = {label: bins for label, bins in found.items() if len(bins)}
    if not found:
        return False
    table = pd.concat(found, names=["row"]).reset_index()
    _draw(table, path)
    return True


def binned(row: Row, store: Store) -> pd.DataFrame:
    """A row's cells by the middle of a bin: sigma, share (of the row's loss), gap (in the metric's units), gradient."""
    import pandas as pd

    bounds = row.recipe.levels.sigma_min, row.recipe.levels.sigma_max
    cells = [noise_bins.frame(store.folder(key).lines(), *bounds) for key in row.keys]
    cells = [cell[cell["images"] >= LAST * cell["images"].max()] for cell in cells if len(cell)]
    if not cells:
        return pd.DataFrame(columns=["sigma", *MEASURES])
    joined = pd.concat(cells)
    for name, source in (("share", "loss"), ("gap", "gap"), ("gradient", "gradient")):
        joined[name] = joined["count"] * joined[source]
    sums = joined.groupby("sigma")[["count", *MEASURES]].sum(min_count=1)
    sums["share"] /= sums["share"].sum()
    for name in ("gap", "gradient"):
        sums[name] /= sums["count"]
    return sums[[*MEASURES]].reset_index()


def _draw(table: pd.DataFrame, path: Path) -> None:
    order = list(dict.fromkeys(table["row"]))
    shown = [v for v in MEASURES if table[v].notna().any()]  # what older records lack is left out
    found = {v: table.pivot(index="row", columns="sigma", values=v).loc[order] for v in shown}
    with house():
        height, below = 1.4 + 0.3 * len(order), 0.5
        figure, axes = blank(1, 1.5 + 5.2 * len(shown), [height], len(shown), below)
        for ax, (name, values) in zip(axes[0], found.items(), strict=True):
            _squares(ax, values, name == "share")
            ax.set(title=MEASURES[name], xlabel="sigma of the student")
        labels = [textwrap.shorten(row, 48, placeholder=" ...") for row in order]
        axes[0, 0].set_yticks(range(len(order)), labels)
        for ax in axes[0, 1:]:
            ax.set_yticks([])
        save(figure, path)


def _squares(ax: Any, values: pd.DataFrame, share: bool) -> None:
    """A coloured square per number, logarithmic but for a share; what is zero has a number and no colour."""
    import numpy as np

    numbers = values.to_numpy(dtype=float)
    colours = numbers if share else np.log10(np.where(numbers > 0, numbers, np.nan))
    ax.imshow(np.ma.masked_invalid(colours), cmap="cividis", aspect="auto")
    known = colours[np.isfinite(colours)]
    middle = (known.min() + known.max()) / 2 if len(known) else 0.0
    for y, x in np.argwhere(np.isfinite(numbers)):
        told = f"{numbers[y, x]:.0%}" if share else f"{numbers[y, x]:.0e}"
        ink = "white" if colours[y, x] < middle else "black"  # a zero has no colour: black on white
        ax.text(x, y, told, ha="center", va="center", color=ink, fontsize="small", in_layout=False)
    ax.set_xticks(range(len(values.columns)), [f"{sigma:.2g}" for sigma in values.columns])
    ax.grid(False)
    ax.spines[:].set_visible(False)
