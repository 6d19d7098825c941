"""Does a small table predict a large one? How far two profiles agree on the order of an experiment's rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

FEWEST = 4  # rows: of fewer, chance alone agrees too often

Means = Mapping[str, float]  # row's label -> mean one-step FID


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau between two profiles' orders of the same rows: 1 is the same order, -1 the reverse.

    p: of no agreement, two-sided, exact for few rows. same_best: whether both have the same row lowest.
    """

    rows: int
    tau: float
    p: float
    same_best: bool


def agreement(a: Means, b: Means) -> Agreement | None:
    """How far two profiles agree on the rows that both have finished; None for fewer than four of them."""
    from scipy.stats import kendalltau

    shared = [row for row in a if row in b and math.isfinite(a[row]) and math.isfinite(b[row])]
    if len(shared) < FEWEST:
        return None
    found = kendalltau([a[row] for row in shared], [b[row] for row in shared])
    best = [min(shared, key=side.__getitem__) for side in (a, b)]
    return Agreement(len(shared), float(found.statistic), float(found.pvalue), best[0] == best[1])
