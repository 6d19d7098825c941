"""How much two rows spread over seeds: the F-test of their variances of log FID.

The F-test needs normal values. On the log FIDs of real runs it keeps its level at two to six seeds
(`benchmarks/power.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ablate.statistics.effect import Sample, Scores, Table, logs
from ablate.statistics.significance import ALPHA, variance


@dataclass(frozen=True)
class Spread:
    """The ratio of two rows' standard deviations of log FID, over the runs that did not diverge.

    n: runs of the row that has fewer. ratio: with its 95 % interval `low` to `high`. less: one-sided p for a ratio
    below 1; greater: for one above 1.
    """

    n: int
    ratio: float
    low: float
    high: float
    less: float
    greater: float


def spread_of(first: Sample, second: Sample, table: Table) -> Spread | None:
    """`compare_spread` of two samples of a table, among values that were measured the same way."""
    sides = table.get(first, {}), table.get(second, {})
    measured = sorted(sides[0].keys() & sides[1].keys())
    return compare_spread(sides[0][measured[0]], sides[1][measured[0]]) if measured else None


def compare_spread(a: Scores, b: Scores) -> Spread | None:
    """The spread of `a` over that of `b`; None where a row has fewer than two finite FIDs, or none spreads."""
    from scipy.special import fdtr, fdtrc, fdtri

    first, second = logs(a.values()), logs(b.values())
    if min(len(first), len(second)) < 2:
        return None
    above, below, df = variance(first), variance(second), (len(first) - 1, len(second) - 1)
    if not above and not below:
        return None
    ratio = above / below if below else math.inf
    high, low = (math.sqrt(ratio / fdtri(*df, tail)) for tail in (ALPHA / 2, 1 - ALPHA / 2))
    less, greater = float(fdtr(*df, ratio)), float(fdtrc(*df, ratio))
    return Spread(min(len(first), len(second)), math.sqrt(ratio), low, high, less, greater)
