"""Bootstrap intervals of statistics of several samples, in the manner of rliable (arXiv 2108.13264).

Each sample is a stratum: its values are drawn again among themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ablate.statistics.effect import Scores
from ablate.statistics.significance import ALPHA

DRAWS = 2000
Estimate = tuple[float, float, float]  # value, lower and upper end of its 95 % interval


def bootstrapped(samples: Sequence[Sequence[float]], statistic: Callable[..., Any]) -> Estimate:
    """A statistic of several samples with its interval; NaN ends where a sample has a single value.

    A resample of n values varies by (n - 1) / n of what the values themselves vary: each sample is spread about its
    mean to make up for that, which matters while n is 3.

    Args:
        samples: none is empty.
        statistic: of the samples and `axis`, for arrays (..., n).
    Raises:
        ValueError: an empty sample, or a value that is not finite.
    """
    import numpy as np
    from scipy import stats

    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    if not all(len(a) and np.isfinite(a).all() for a in arrays):
        raise ValueError("samples: none may be empty, and every value must be finite")
    value = float(statistic(*arrays, axis=-1))
    if min(len(a) for a in arrays) < 2:
        return value, math.nan, math.nan
    spread = [a.mean() + (a - a.mean()) * math.sqrt(len(a) / (len(a) - 1)) for a in arrays]
    drawn = stats.bootstrap(
        spread,
        statistic,
        n_resamples=DRAWS,
        batch=100,
        vectorized=True,
        confidence_level=1 - ALPHA,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return value, float(drawn.low), float(drawn.high)


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
