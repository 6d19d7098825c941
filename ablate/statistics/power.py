"""How many seeds decide an effect."""

from __future__ import annotations

import bisect
import math
import warnings
from functools import lru_cache

from ablate.statistics.significance import ALPHA

POWER = 0.8
MOST_SEEDS = 100  # beyond, the answer is None instead of a number


@lru_cache(maxsize=4096)  # a page asks for the same comparison in its text, its figure and its LaTeX
def seeds_needed(effect: float, deviation: float, tests: int, alpha: float = ALPHA) -> int | None:
    """How many seeds decide an effect (in log FID) with 80 % power, corrected for `tests`; None if over a hundred."""
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

    needed = 2 + bisect.bisect_left(range(2, MOST_SEEDS + 1), True, key=suffices)
    return needed if needed <= MOST_SEEDS else None
