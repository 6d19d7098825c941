"""How often 95 % intervals of factorials contain the truth: `python benchmarks/factorial.py` prints a table.

Simulated tables: every recipe has its true log FID, with effects of all orders (of one and two axes in a fraction), a
seed shifts all recipes by N(0, 0.2), a cell varies by N(0, 0.123) as those of `experiments/ct_to_ict.yaml`, and a
main effect varies from seed to seed by N(0, s), an interaction of two axes by N(0, s / 2). `one` gives s = 0.1 to the
first axis and 0 to the others, whose interval is in the last column; `unlike` draws every axis's s as |N(0, 0.04)|.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
from support.command import parser

from ablate.statistics import designs, factorial
from ablate.statistics.shapley import estimated_ways, ways

AXES, TABLES, SEED, CELL = "abcdefg", 500, 0.2, 0.123
DESIGNS = {  # name -> axes, runs, seeds, lost recipes, recipes with the first seed only
    "16 recipes of 4 axes, 3 seeds": (4, 16, 3, 0, 0),
    "32 of 5, 3 seeds": (5, 32, 3, 0, 0),
    "32 of 5, 2 seeds": (5, 32, 2, 0, 0),
    "16 of 7 (resolution IV), 2 seeds": (7, 16, 2, 0, 0),
    "16 of 7 (resolution IV), 4 seeds": (7, 16, 4, 0, 0),
    "32 of 5, 3 seeds, 3 diverged": (5, 32, 3, 3, 0),
    "32 of 5, 3 seeds, 8 have one": (5, 32, 3, 0, 8),
}
VARYING = ("0", "0.02", "0.04", "0.1", "unlike", "one")


def deviations(varying: str, axes: int, rng: np.random.Generator) -> np.ndarray:
    """Of every axis's main effect over seeds."""
    if varying == "one":
        return 0.1 * (np.arange(axes) == 0)
    return np.abs(rng.normal(0, 0.04, axes)) if varying == "unlike" else np.full(axes, float(varying))


def covered(varying: str, shape: tuple[int, ...], tables: int) -> dict[str, float]:
    """The share of intervals that contain the truth, by kind."""
    axes, runs, seeds, lost, short = shape
    full = runs == 2**axes
    design = designs.full(axes) if full else designs.fraction(axes, runs)
    orders = range(1, axes + 1 if full else 3)
    terms = [t for n in orders for t in itertools.combinations(range(axes), n)]
    everywhere = designs.full(axes)
    columns, all_columns = (
        np.column_stack([designs.column(d, t) for t in terms]) for d in (design, everywhere)
    )
    levels = {i: dict(zip(AXES, run, strict=False)) for i, run in enumerate(design.tolist())}
    rng, hits = np.random.default_rng(0), defaultdict[str, list[bool]](list)
    for _ in range(tables):
        true = rng.normal(0, [0.5 / len(t) ** 2 for t in terms])
        s = deviations(varying, axes, rng)
        spread = [float(s[list(t)].mean()) / len(t) * (len(t) < 3) for t in terms]
        moved = rng.normal(0, spread, (seeds + 1, len(terms)))  # the last is a new seed
        shift = rng.normal(0, SEED, seeds + 1)
        logs = columns @ (true + moved[:-1]).T / 2 + shift[:-1] + rng.normal(0, CELL, (runs, seeds))
        order = rng.permutation(runs)
        few = set(order[:short].tolist())
        table = {
            (i, 1): {"": {k: math.exp(v) for k, v in enumerate(row) if not k or i not in few}}
            for i, row in enumerate(logs.tolist())
        }
        for i in order[:lost].tolist():
            table[i, 1][""][0] = math.inf
        cells = factorial.collect(levels, table)
        fit = factorial.fit(cells)
        if not fit:
            continue
        truth = dict(zip(terms, true.tolist(), strict=True))
        for e in fit.effects:
            hit = e.low <= sum(truth[t] for t in (e.term, *e.aliases)) <= e.high
            hits["main effects" if len(e.term) == 1 else "interactions"].append(hit)
            if e.term == (0,):
                hits["first axis"].append(hit)
        main = [sum(v / len(t) for t, v in truth.items() if i in t and len(t) % 2) for i in range(axes)]
        found = ways(cells) or estimated_ways(cells, fit, {})
        if full and not (lost or short):
            hits["Shapley values"] += [
                w.shapley[1] <= v <= w.shapley[2] for w, v in zip(found, main, strict=True)
            ]
        if abs(sum(main)) > 1 and not (lost or short):  # a share of a way that leads nowhere has no meaning
            hits["shares"] += [
                w.share[1] <= v / sum(main) <= w.share[2] for w, v in zip(found, main, strict=True)
            ]
        if math.isnan(fit.predicted[1]):
            continue
        there = int(np.flatnonzero((everywhere == fit.best).all(1))[0])
        new = all_columns[there] @ (true + moved[-1]) / 2 + shift[-1] + rng.normal(0, CELL)
        hits["new cell"].append(fit.predicted[1] <= math.exp(new) <= fit.predicted[2])
    return {name: float(np.mean(found)) for name, found in hits.items()}


def main(tables: int) -> None:
    """Print a table in Markdown."""
    kinds = ("main effects", "interactions", "Shapley values", "shares", "new cell", "first axis")
    print(f"| design | s | {' | '.join(kinds)} |\n{'|---' * (2 + len(kinds))}|")
    for name, shape in DESIGNS.items():
        for varying in VARYING:
            found = covered(varying, shape, tables)
            shares = [f"{100 * found[kind]:.1f} %" if kind in found else "-" for kind in kinds]
            print(f"| {name} | {varying} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main(TABLES // 100 if parser(__doc__).parse_args().quick else TABLES)
