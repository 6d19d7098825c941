"""Paired comparisons from few seeds: intervals, tests, corrections, how many seeds more.

Differences are taken in log FID, seed by seed, so that an effect is a ratio and a noisy scale matters less. The tests
are the paired t-test (Student), the sign test where training diverged, and Page's for trends; Holm's correction.
"""

from __future__ import annotations

import bisect
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 100  # beyond, one says so instead of a number
SMALLEST = 1e-6  # of a FID under a logarithm

Scores = Mapping[int, float]  # seed -> FID; infinite where training diverged


@dataclass(frozen=True)
class Paired:
    """How many times as high one side's FID is as the other's, over the seeds that both have.

    ratio: geometric mean, `low` and `high` its 95 % interval (NaN from a single seed). difference: likewise, in FID.
    less, greater: p of a truth on the other side (1 from a single seed). lost: pairs that a divergence decided.
    """

    n: int
    ratio: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    less: float
    greater: float
    deviation: float
    lost: int = 0

    @property
    def p(self) -> float:
        """Two-sided."""
        return min(1.0, 2 * min(self.less, self.greater))


def paired(contexts: Sequence[tuple[Scores, Scores]], margin: float = 1.0) -> Paired:
    """Compare two sides over the seeds that all contexts share, a context's mean log ratio at a time.

    Args:
        margin: test against ratios that are so many times lower than 1.
    """
    shared = sorted(set.intersection(*(set(a) & set(b) for a, b in contexts)))
    found = [(_log_ratio(contexts, seed), seed) for seed in shared]
    logs = [d for d, _ in found if not math.isnan(d)]
    finite = [d for d in logs if math.isfinite(d)]
    plain = [sum(a[s] - b[s] for a, b in contexts) / len(contexts) for d, s in found if math.isfinite(d)]
    center, low, high = _interval(finite)
    moved = [d + math.log(margin) for d in logs]
    less, greater = _signs(moved) if len(finite) < len(logs) else _student(moved)
    return Paired(
        len(logs),
        math.exp(center),
        math.exp(low),
        math.exp(high) if high < 700 or math.isnan(high) else math.inf,
        *_interval(plain),
        less=less,
        greater=greater,
        deviation=_deviation(finite),
        lost=len(logs) - len(finite),
    )


def alike(a: Scores, b: Scores) -> bool:
    """Whether the paired t-test on log FID, uncorrected, does not tell two rows apart; False from a single seed."""
    logs = [_log_ratio([(a, b)], seed) for seed in sorted(set(a) & set(b))]
    return len(logs) > 1 and 2 * min(_student(logs)) > ALPHA


def _log_ratio(contexts: Sequence[tuple[Scores, Scores]], seed: int) -> float:
    logs = [math.log(max(a[seed], SMALLEST)) - math.log(max(b[seed], SMALLEST)) for a, b in contexts]
    return sum(logs) / len(logs)  # infinity less infinity is NaN: no evidence


def _deviation(values: Sequence[float]) -> float:
    mean = sum(values) / len(values) if values else 0.0
    return (
        math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else math.nan
    )


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its 95 % interval by Student."""
    from scipy import stats

    if len(values) < 2:
        return (values[0] if values else math.nan), math.nan, math.nan
    mean, error = sum(values) / len(values), _deviation(values) / math.sqrt(len(values))
    reach = float(stats.t.ppf(1 - ALPHA / 2, len(values) - 1)) * error
    return mean, mean - reach, mean + reach


def _student(values: Sequence[float]) -> tuple[float, float]:
    """p that the mean is not below, not above zero."""
    from scipy import stats

    if len(values) < 2:
        return 1.0, 1.0
    if max(values) == min(values):  # no spread: either equal, or told apart without doubt
        return (1.0, 1.0) if values[0] == 0 else (float(values[0] > 0), float(values[0] < 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of values that are nearly, not wholly, identical
        less = float(stats.ttest_1samp(values, 0.0, alternative="less").pvalue)
    return less, 1 - less


def _signs(values: Sequence[float]) -> tuple[float, float]:
    """The sign test: a seed that diverged has lost, by how much nobody can say."""
    from scipy import stats

    wins, decided = sum(v < 0 for v in values), sum(v != 0 for v in values)
    if not decided:
        return 1.0, 1.0
    p = [float(stats.binomtest(k, decided, alternative="greater").pvalue) for k in (wins, decided - wins)]
    return p[0], p[1]


def trend(table: Sequence[Sequence[float]]) -> tuple[float, float]:
    """p that a row of values does not fall, does not rise from left to right, by Page's test; rows are seeds."""
    import numpy as np
    from scipy import stats

    if len(table) < 2:
        return 1.0, 1.0
    values = np.asarray(table, dtype=float)
    found = [stats.page_trend_test(sign * values).pvalue for sign in (-1, 1)]
    return float(found[0]), float(found[1])


def holm(p: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """p-values as corrected for their number, by Holm."""
    if not p:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(v) for v in multipletests(p, alpha, method="holm")[1]]


@lru_cache(maxsize=4096)  # a page asks for the same comparison in its text, its figure and its LaTeX
def seeds_needed(effect: float, deviation: float, tests: int, alpha: float = ALPHA) -> int | None:
    """How many seeds decide an effect (in log FID) with 80 % power, corrected for `tests`; None: over a hundred."""
    from statsmodels.stats.power import TTestPower

    if not deviation > 0:
        return 2
    size = abs(effect) / deviation
    if not math.isfinite(size) or size * math.sqrt(MOST_SEEDS) < 1:
        return None
    power, level = TTestPower(), alpha / max(1, tests)

    def suffices(n: int) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reached = float(power.power(size, n, level))
        return reached >= POWER or (n > 2 and math.isnan(reached))  # NaN: too far out for its series

    found = 2 + bisect.bisect_left(range(2, MOST_SEEDS + 1), True, key=suffices)
    return found if found <= MOST_SEEDS else None
