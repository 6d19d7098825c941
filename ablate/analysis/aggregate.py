"""Many rows at once from few runs, in the manner of rliable (arXiv 2108.13264).

Rows are the strata of the bootstrap: each row's runs are drawn again among themselves, the base's among its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ablate.analysis.statistics import ALPHA, SMALLEST, Scores

if TYPE_CHECKING:
    from ablate.analysis.verdicts import Table, Versus

DRAWS = 2000
FEWEST = 3  # rows that are worth a mean over rows
Estimate = tuple[float, float, float]  # value, lower and upper end of its 95 % interval


def bootstrapped(samples: Sequence[Sequence[float]], statistic: Callable[..., Any]) -> Estimate:
    """A statistic of several samples with its interval; NaN ends where a sample has a single value.

    A resample of n values varies by (n - 1) / n of what the values themselves vary: each sample is spread about its
    mean to make up for that, which matters while n is 3.

    Args:
        statistic: of the samples and `axis`, for arrays (..., n).
    """
    import numpy as np
    from scipy import stats

    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    value = float(statistic(*arrays, axis=-1))
    if min(len(a) for a in arrays) < 2:
        return value, math.nan, math.nan
    spread = [a.mean() + (a - a.mean()) * math.sqrt(len(a) / (len(a) - 1)) for a in arrays]
    found = stats.bootstrap(
        spread,
        statistic,
        n_resamples=DRAWS,
        batch=100,
        vectorized=True,
        confidence_level=1 - ALPHA,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return value, float(found.low), float(found.high)


def mean(sample: Any, axis: int = -1) -> Any:
    """Of one sample."""
    return sample.mean(axis=axis)


def mean_change(base: Any, *rows: Any, axis: int = -1) -> Any:
    """Mean over rows of their mean difference to the base."""
    return sum(row.mean(axis=axis) for row in rows) / len(rows) - base.mean(axis=axis)


def middle_change(base: Any, *rows: Any, axis: int = -1) -> Any:
    """Interquartile mean over all runs of all rows of their difference to the base's mean."""
    import numpy as np
    from scipy import stats

    return stats.trim_mean(np.concatenate(rows, axis=axis), 0.25, axis=axis) - base.mean(axis=axis)


def improvement(base: Any, *rows: Any, axis: int = -1) -> Any:
    """Probability that a run of a row is below a run of the base, a mean over rows; equal runs count half."""
    import numpy as np

    assert axis == -1
    below = [np.sign(base[..., None, :] - row[..., :, None]).mean(axis=(-1, -2)) for row in rows]
    return 0.5 + 0.5 * sum(below) / len(below)


def pair_improvement(row: Scores, base: Scores) -> float | None:
    """The same of one row; None where one side has fewer than two runs. A run that diverged is below none."""
    import numpy as np

    if min(len(row), len(base)) < 2:
        return None
    values = [np.clip(list(side.values()), None, 1e300) for side in (base, row)]
    return float(improvement(*values))


def scores_of(row: int, versus: Versus, table: Table, nfe: int = 1) -> tuple[Scores, Scores] | None:
    """A row's and its base's FIDs that are alike."""
    mine, other = table.get((row, nfe), {}), table.get((versus.base, nfe), {})
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
