"""How many seeds find an effect of which size: `python benchmarks/power.py [FOLDER]` draws power.png, prints a table.

Simulated tables of ten claims, one of them true by a given ratio and nine null, seeds paired, Holm's correction as in a
report. The spread over seeds is lognormal, of the log ratio's standard deviation that the committed digits tables show
in the middle (0.08).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.command import parser

from ablate.statistics.paired import paired
from ablate.statistics.significance import ALPHA, holm

SPREAD, CLAIMS, TABLES = 0.08, 10, 400
SEEDS = (2, 3, 4, 5, 6, 8, 10)
RATIOS = (1.0, 0.95, 0.9, 0.8, 0.67, 0.5)  # of the better side's FID to the other's; 1: all claims are null


def found(ratio: float, seeds: int, tables: int = TABLES) -> float:
    """The share of tables in which the first claim is significant, in the right direction where there is one."""
    rng, hits = np.random.default_rng([seeds, round(1000 * ratio)]), 0
    for _ in range(tables):
        p = []
        for i in range(CLAIMS):
            logs = rng.normal(np.log(ratio) if i == 0 else 0.0, SPREAD, seeds)
            sides = dict(enumerate(np.exp(logs))), dict.fromkeys(range(seeds), 1.0)
            pair = paired([sides])
            p.append(min(1.0, 2 * pair.less) if ratio < 1 else pair.p)
        hits += holm(p)[0] <= ALPHA
    return hits / tables


def main(folder: Path) -> None:
    """Print a table in Markdown and draw it."""
    import pandas as pd
    import seaborn as sns
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    power = {ratio: [found(ratio, n) for n in SEEDS] for ratio in RATIOS}
    names = {r: "null" if r == 1 else f"-{100 * (1 - r):.0f} %" for r in RATIOS}
    print(
        "| FID by | " + " | ".join(f"{n} seeds" for n in SEEDS) + " |\n|---" * 1 + "|---" * len(SEEDS) + "|"
    )
    for ratio, shares in power.items():
        print(f"| {names[ratio]} | " + " | ".join(f"{100 * s:.0f} %" for s in shares) + " |")
    tidy = pd.DataFrame(
        [(names[r], n, s) for r, shares in power.items() for n, s in zip(SEEDS, shares, strict=True)],
        columns=["change of FID", "seeds", "share of tables that tell it"],
    )
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    sns.lineplot(
        tidy,
        x="seeds",
        y="share of tables that tell it",
        hue="change of FID",
        style="change of FID",
        markers=True,
        dashes=False,
        palette="colorblind",
        ax=ax,
    )
    ax.set_ylim(-0.02, 1.02)
    figure.savefig(folder / "power.png", dpi=110)


if __name__ == "__main__":
    command = parser(__doc__, quick=False)
    command.add_argument("folder", nargs="?", type=Path, default=Path("."), help="where power.png goes")
    main(command.parse_args().folder)
