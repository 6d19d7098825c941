"""Where along the noise levels a row's loss lies, late in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablate.training import noise_bins

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.cells import Row
    from ablate.runs.store import Store

LAST = 0.75  # of a cell's images: what was seen before is left out
SOURCES = {"share": "loss", "gap": "gap", "gradient": "gradient"}  # measure: the column that it is a mean of


def binned(row: Row, store: Store) -> pd.DataFrame:
    """Measures over the last quarter of training and all seeds of a row.

    Returns:
        A line per bin: `sigma`, the bin's center; `share` of the row's loss; `gap` between student and teacher, in
        the metric's units; `gradient` with respect to the network's output. Empty where no cell has diagnostics.
    """
    import pandas as pd

    bounds = row.recipe.levels.sigma_min, row.recipe.levels.sigma_max
    cells = [noise_bins.frame(store.folder(key).lines(), *bounds) for key in row.keys]
    cells = [cell[cell["images"] >= LAST * cell["images"].max()] for cell in cells if len(cell)]
    if not cells:
        return pd.DataFrame(columns=["sigma", *SOURCES])
    joined = pd.concat(cells)
    for name, source in SOURCES.items():
        joined[name] = joined["count"] * joined[source]
    sums = joined.groupby("sigma")[["count", *SOURCES]].sum(min_count=1)
    sums["share"] /= sums["share"].sum()
    for name in ("gap", "gradient"):
        sums[name] /= sums["count"]
    return sums[[*SOURCES]].reset_index()
