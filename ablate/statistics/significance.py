"""Tests of a few values against zero, Page's test of a trend, and Holm's correction for many tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

ALPHA = 0.05


def student(values: Sequence[float]) -> tuple[float, float]:
    """Student's t-test: p that the mean is not below, not above zero; (1, 1) for a single value."""
    from scipy.special import stdtr

    if len(values) < 2:
        return 1.0, 1.0
    if max(values) == min(values):  # no spread: either equal to zero, or different without doubt
        return (1.0, 1.0) if values[0] == 0 else (float(values[0] > 0), float(values[0] < 0))
    t = sum(values) / len(values) / (deviation(values) / math.sqrt(len(values)))
    less = float(stdtr(len(values) - 1, t))
    return less, 1 - less


def signs(values: Sequence[float]) -> tuple[float, float]:
    """The sign test, p as in `student`: a seed that diverged has lost, by how much nobody can say."""
    from scipy import stats

    wins, decided = sum(v < 0 for v in values), sum(v != 0 for v in values)
    if not decided:
        return 1.0, 1.0
    p = [float(stats.binomtest(k, decided, alternative="greater").pvalue) for k in (wins, decided - wins)]
    return p[0], p[1]


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and its 95 % interval by Student's t; NaN ends for a single value."""
    from scipy.special import stdtrit

    if len(values) < 2:
        return (values[0] if values else math.nan), math.nan, math.nan
    mean, error = sum(values) / len(values), deviation(values) / math.sqrt(len(values))
    reach = float(stdtrit(len(values) - 1, 1 - ALPHA / 2)) * error
    return mean, mean - reach, mean + reach


def deviation(values: Sequence[float]) -> float:
    """The sample's standard deviation; NaN for a single value."""
    if len(values) < 2:
        return math.nan
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def trend(table: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Page's test: p that values do not fall, do not rise from left to right. A row is a seed; one row gives (1, 1)."""
    import numpy as np
    from scipy import stats

    if len(table) < 2:
        return 1.0, 1.0
    values = np.asarray(table, dtype=float)
    falls, rises = (float(stats.page_trend_test(sign * values).pvalue) for sign in (-1, 1))
    return falls, rises


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m p-values times m - k + 1, never below a smaller one's."""
    import numpy as np

    order = np.argsort(p)
    scaled = np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(v) for v in corrected]
