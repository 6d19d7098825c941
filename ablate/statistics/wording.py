"""Comparisons in words and signs, the same in tables, pages and LaTeX."""

from __future__ import annotations

import math

from ablate.statistics.effect import Effect

UNBOUNDED = 1e6  # a ratio beyond is no bound
FACTOR = 3  # a ratio from which on `×3` is shown instead of `+200%`


def describe(pair: Effect, times: bool = False) -> str:
    """A comparison in words: by how much FID is lower or higher, and how sure that is.

    Args:
        times: `8.2 times lower`, the unit of a claim that asks for a factor.
    """
    lost = f"{pair.lost} {'run' if pair.lost == 1 else 'runs'} diverged" if pair.lost else ""
    if not math.isfinite(pair.ratio):
        return lost or "nothing to compare"
    words = f"FID {_times(pair) if times else change(pair)}"
    return f"{words}, {lost}" if lost else words


def change(pair: Effect) -> str:
    """`-12.0% [-20.1%, -3.0%]`, without an interval from a single seed."""
    if math.isnan(pair.low):
        return ratios(pair.ratio)[0]
    value, low, high = ratios(pair.ratio, pair.low, pair.high)
    return f"{value} [{low}, {high if pair.high < UNBOUNDED else 'no bound'}]"


def ratios(*values: float) -> list[str]:
    """`-12.0%`, `+3.4%`; all as `×52` where one of them is three or more: one unit for a value and its interval."""
    as_factors = any(v >= FACTOR for v in values)
    return [f"×{v:.3g}" if as_factors else f"{v - 1:+.1%}" for v in values]


def _times(pair: Effect) -> str:
    lower = pair.ratio <= 1
    ends = (1 / pair.high if pair.high else math.inf, 1 / pair.low if pair.low else math.inf)
    value, (low, high) = (1 / pair.ratio, ends) if lower else (pair.ratio, (pair.low, pair.high))
    words = f"{value:.3g} times {'lower' if lower else 'higher'}"
    bound = f"{high:.3g}" if high < UNBOUNDED else "no bound"
    return words if math.isnan(pair.low) else f"{words} [{low:.3g}, {bound}]"


def probability(p: float) -> str:
    """`0.031`, `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.2g}" if p < 0.995 else "1"
