"""How many seeds decide an effect."""

from __future__ import annotations

import bisect
import math
from functools import lru_cache
from typing import Any

from ablate.statistics.significance import ALPHA

POWER = 0.8
MOST_SEEDS = 100  # beyond, the answer is None instead of a number
QUANTILES = 2000  # of the sample's deviation; the power is right to half of 1 / 2000


@lru_cache(maxsize=4096)  # a page asks for the same comparison in its text, its figure and its LaTeX
def seeds_needed(
    effect: float, deviation: float, tests: int, alpha: float = ALPHA, freedom: float = 1.0
) -> int | None:
    """How many seeds of each row decide an effect with 80 % power, corrected for `tests`; None if over a hundred.

    An effect or a deviation that is not finite has no number. Without a spread, two seeds decide any effect but 0.

    Args:
        effect: in log FID.
        deviation: standard error of the effect, times the root of the number of seeds.
        freedom: degrees of freedom of the test per seed after the first; 2 for two rows that spread alike.
    Raises:
        ValueError: unless deviation >= 0, tests >= 1, 0 < alpha < 1 and freedom > 0.
    """
    if deviation < 0 or tests < 1 or not 0 < alpha < 1 or not freedom > 0:
        law = "deviation >= 0, tests >= 1, 0 < alpha < 1 and freedom > 0 must hold"
        got = f"deviation={deviation}, tests={tests}, alpha={alpha}, freedom={freedom}"
        raise ValueError(f"{law}, but got {got}")
    if not (math.isfinite(effect) and math.isfinite(deviation)) or effect == 0:
        return None
    size, level = abs(effect) / deviation if deviation else math.inf, alpha / tests
    needed = 2 + bisect.bisect_left(
        range(2, MOST_SEEDS + 1), True, key=lambda n: power(size, n, level, freedom * (n - 1)) >= POWER
    )
    return needed if needed <= MOST_SEEDS else None


def power(size: float, n: int, level: float, df: float) -> float:
    """The chance that a two-sided t-test of n seeds with `df` degrees of freedom is significant at `level`.

    The mean of P(|Z + size sqrt(n)| > t S) over quantiles of S, the estimated deviation in units of the true one.
    Unlike the series of the noncentral t distribution, it has a value everywhere.

    Args:
        size: the true effect in units of the true standard deviation, 0 to infinity.
        n: at least 2.
        level: above 0 and below 1.
        df: above 0.
    """
    from scipy.special import ndtr, stdtrit

    if math.isinf(size):
        return 1.0
    center, bounds = size * math.sqrt(n), -float(stdtrit(df, level / 2)) * _deviations(df)
    return float((ndtr(center - bounds) + ndtr(-center - bounds)).mean())


@lru_cache(maxsize=MOST_SEEDS)
def _deviations(df: float) -> Any:
    """Quantiles of an estimated standard deviation whose true value is 1."""
    import numpy as np
    from scipy.special import gammaincinv

    return np.sqrt(gammaincinv(df / 2, (np.arange(QUANTILES) + 0.5) / QUANTILES) * 2 / df)
