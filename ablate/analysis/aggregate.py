"""Many rows at once from few runs, in the manner of rliable (arXiv 2108.13264).

Rows are the strata of the bootstrap: each row's runs are drawn again among themselves, the base's among its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ablate.statistics.bootstrap import Estimate, bootstrapped, improvement, mean_change, middle_change
from ablate.statistics.effect import SMALLEST, Scores, Table

if TYPE_CHECKING:
    from ablate.analysis.verdicts import Versus

FEWEST = 3  # rows that are worth a mean over rows


def scores_of(row: int, versus: Versus, table: Table) -> tuple[Scores, Scores] | None:
    """A row's and its base's one-step FIDs that were measured the same way."""
    mine, other = table.get((row, 1), {}), table.get((versus.base, 1), {})
    shared = sorted(set(mine) & set(other))
    return (mine[shared[0]], other[shared[0]]) if shared else None


def section(rows: Sequence[int], versus: Sequence[Versus | None], table: Table) -> list[tuple[int, ...]]:
    """The rows that can be looked at together: of one base, with two runs each and none lost; base first."""
    found: dict[int, list[int]] = {}
    for i in rows:
        entry = versus[i]
        pair = scores_of(i, entry, table) if entry else None
        if entry and pair and all(_whole(side) for side in pair):
            found.setdefault(entry.base, []).append(i)
    return [(base, *members) for base, members in found.items() if len(members) >= FEWEST]


def _whole(scores: Scores) -> bool:
    return len(scores) > 1 and all(math.isfinite(v) for v in scores.values())


def together(group: Sequence[int], versus: Sequence[Versus | None], table: Table) -> list[Estimate]:
    """Ratio to the base in the mean over rows, in the middle half of the runs; probability of improvement."""
    pairs = [pair for i in group[1:] if (entry := versus[i]) and (pair := scores_of(i, entry, table))]
    sides = [pairs[0][1], *(mine for mine, _ in pairs)]
    logs = [[math.log(max(fid, SMALLEST)) for fid in side.values()] for side in sides]
    changes = [bootstrapped(logs, of) for of in (mean_change, middle_change)]
    ratios = [(math.exp(a), math.exp(b), math.exp(c)) for a, b, c in changes]
    return [*ratios, bootstrapped(logs, improvement)]
