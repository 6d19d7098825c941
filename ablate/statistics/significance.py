"""Mann and Whitney's test, Page's test of a trend, and Holm's correction for many tests."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

ALPHA = 0.05
LARGEST = 1e150  # of a value whose square is added up
EXACT_TIES = 7  # columns up to which a trend with ties counts every order: 5,040 of them


def ranks(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """One-sided p of Mann and Whitney's test that `a` is below `b`, and above; exact with ties, up to 10,000 orders.

    For rows with runs that diverged: these are infinite, so that only their rank counts.

    Raises:
        ValueError: a value is NaN, or a side has none; infinite values count.
    """
    import numpy as np
    from scipy import stats

    _check_numbers([*a, *b])
    if len({*a, *b}) == 1:
        return 1.0, 1.0
    orders = stats.PermutationMethod(n_resamples=9_999, rng=np.random.default_rng(0))
    found = [stats.mannwhitneyu(a, b, alternative=side, method=orders) for side in ("less", "greater")]
    return float(found[0].pvalue), float(found[1].pvalue)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean of one or more values."""
    return math.fsum(values) / len(values)


def variance(values: Sequence[float]) -> float:
    """The sample's variance; NaN for a single value.

    Raises:
        ValueError: a value is not finite, or beyond 1e150.
    """
    _check_finite(values)
    if len(values) < 2:
        return math.nan
    center = mean(values)
    return sum((v - center) ** 2 for v in values) / (len(values) - 1)


def reach(error: float, df: float) -> float:
    """Half the width of the 95 % t-interval; NaN without degrees of freedom.

    Args:
        error: the standard error.
    """
    from scipy.special import stdtrit

    return float(stdtrit(df, 1 - ALPHA / 2)) * error if df > 0 else math.nan


def trend(table: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Page's test: p that values do not fall, do not rise from left to right. A row is a seed; one row gives (1, 1).

    Equal values in a row share their mean rank, and p is then that of all orders of each row's own ranks; beyond seven
    columns it is normal, with the variance of these ranks.

    Raises:
        ValueError: rows of unequal length or of fewer than three columns, or a NaN; infinite values count.
    """
    import numpy as np
    from scipy import stats

    if min(map(len, table), default=3) < 3 or len(set(map(len, table))) > 1:
        raise ValueError(f"rows must have one length of at least 3, but got {sorted(set(map(len, table)))}")
    _check_numbers([value for row in table for value in row])
    if len(table) < 2:
        return 1.0, 1.0
    values = np.asarray(table, dtype=float)
    if all(len(set(row)) == len(row) for row in values.tolist()):
        falls, rises = (float(stats.page_trend_test(sign * values).pvalue) for sign in (-1, 1))
        return falls, rises
    doubled = (2 * stats.rankdata(values, axis=1)).astype(int)  # whole numbers, also where a rank is shared
    tail = _counted if values.shape[1] <= EXACT_TIES else _normal
    return tail(2 * (values.shape[1] + 1) - doubled), tail(doubled)


def _counted(ranks: Any) -> float:
    """The share of all orders of each row whose sum of place times rank is at least that of `ranks` (m, n)."""
    import numpy as np

    chances = np.ones(1)
    for row in ranks.tolist():
        chances = np.convolve(chances, _orders(tuple(sorted(row))))
    seen = int((ranks * np.arange(ranks.shape[1])).sum())
    return min(1.0, float(chances[seen:].sum()))


@lru_cache(maxsize=64)
def _orders(ranks: tuple[int, ...]) -> Any:
    """By sum of place times rank, the chance of it among all orders of `ranks`."""
    import numpy as np

    sums = Counter(sum(i * r for i, r in enumerate(order)) for order in itertools.permutations(ranks))
    return np.array([sums[total] for total in range(max(sums) + 1)]) / math.factorial(len(ranks))


def _normal(ranks: Any) -> float:
    """`_counted` by the normal distribution with the same mean and variance."""
    import numpy as np
    from scipy.special import ndtr

    n, places = ranks.shape[1], np.arange(ranks.shape[1])
    gap = float((ranks * (places - places.mean())).sum())
    variance = float(places.var() * ranks.var(axis=1).sum()) * n**2 / (n - 1)
    return float(ndtr(-gap / math.sqrt(variance))) if variance else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m p-values times m - k + 1, never below a smaller one's.

    Raises:
        ValueError: a p-value outside 0 to 1.
    """
    import numpy as np

    if outside := [v for v in p if not 0 <= v <= 1]:
        raise ValueError(f"p: 0 to 1 must hold, but got {outside[0]}")
    order = np.argsort(p)
    scaled = np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(v) for v in corrected]


def _check_finite(values: Sequence[float]) -> None:
    if outside := [v for v in values if not abs(v) <= LARGEST]:
        raise ValueError(f"values: -{LARGEST:g} to {LARGEST:g} must hold, but got {outside[0]}")


def _check_numbers(values: Sequence[float]) -> None:
    if any(math.isnan(v) for v in values):
        raise ValueError("values: there is a NaN among them")
