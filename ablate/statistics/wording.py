"""Comparisons in words and signs, the same in tables, pages and LaTeX."""

from __future__ import annotations

import math

from ablate.statistics.paired import Paired


def describe(pair: Paired) -> str:
    """A comparison in words: by how much FID is lower or higher, and how sure that is."""
    lost = f"{pair.lost} of {pair.n} pairs decided by a divergence" if pair.lost else ""
    if not math.isfinite(pair.ratio):
        return lost or "nothing to compare"
    words = f"FID {percent(pair.ratio)}{interval(pair)}"
    return f"{words}, {lost}" if lost else words


def percent(ratio: float) -> str:
    """`-12.0%`, `+3.4%`; from a factor of three on `×52`."""
    return f"{ratio - 1:+.1%}" if ratio < 3 else f"×{ratio:.3g}"


def interval(pair: Paired) -> str:
    """` [-20.1%, -3.0%]`, empty from a single seed."""
    if math.isnan(pair.low):
        return ""
    high = percent(pair.high) if pair.high < 1e6 else "no bound"
    return f" [{percent(pair.low)}, {high}]"


def probability(p: float) -> str:
    """`0.031`, `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.2g}" if p < 0.995 else "1"
