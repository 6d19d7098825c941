"""Two sides compared seed by seed, in log FID, so that an effect is a ratio and the scale of the noise matters less."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ablate.statistics.significance import ALPHA, deviation, interval, signs, student

SMALLEST, LARGEST = 1e-6, 1e150  # of a finite FID that is compared; the smallest under a logarithm

Scores = Mapping[int, float]  # seed -> FID; infinite where training diverged


class Sample(NamedTuple):
    """What a side of a comparison measures: a row's FID after `nfe` network evaluations."""

    row: int
    nfe: int


Table = Mapping[tuple[int, int], Mapping[str, Scores]]  # Sample -> how it was measured -> scores


@dataclass(frozen=True)
class Paired:
    """The ratio of two sides' FIDs, over the seeds that both have.

    ratio: geometric mean, with its 95 % interval `low` to `high` (NaN from a single seed). difference: the same in FID.
    less: one-sided p for a ratio below 1; greater: for a ratio above 1 (both are 1 from a single seed).
    deviation: standard deviation of the log ratio over seeds. lost: pairs that a divergence decided.
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


def compare(pairs: Sequence[tuple[Sample, Sample]], table: Table, margin: float = 1.0) -> Paired | None:
    """Compare the pairs' first with their second samples, among values that were measured the same way.

    Args:
        pairs: comparisons that count as one, by their mean log ratio.
        margin: test against ratios that are so many times lower than 1.
    Returns:
        None if no seed has all samples.
    """
    for measured in sorted({how for a, _ in pairs for how in table.get(a, {})}):
        sides = [(table.get(a, {}).get(measured, {}), table.get(b, {}).get(measured, {})) for a, b in pairs]
        if set.intersection(*(set(x) & set(y) for x, y in sides)):
            return paired(sides, margin)
    return None


def paired(contexts: Sequence[tuple[Scores, Scores]], margin: float = 1.0) -> Paired:
    """Compare two sides over the seeds that all contexts share: Student's paired t-test on the mean log ratio.

    Where training diverged, the sign test takes its place.

    Args:
        contexts: one or more. A seed is no evidence where a FID is NaN, or infinite on both sides.
        margin: test against ratios that are so many times lower than 1.
    Raises:
        ValueError: unless margin is above 0 and finite.
    """
    if not 0 < margin < math.inf:
        raise ValueError(f"margin: above 0 and finite must hold, but got {margin}")
    shared = sorted(set.intersection(*(set(a) & set(b) for a, b in contexts)))
    ratios = [(d, seed) for seed in shared if not math.isnan(d := _log_ratio(contexts, seed))]
    logs = [d for d, _ in ratios]
    finite = [d for d in logs if math.isfinite(d)]
    plain = [
        sum(_finite(a[s]) - _finite(b[s]) for a, b in contexts) / len(contexts)
        for d, s in ratios
        if math.isfinite(d)
    ]
    center, low, high = interval(finite)
    moved = [d + math.log(margin) for d in logs]
    less, greater = signs(moved) if len(finite) < len(logs) else student(moved)
    return Paired(
        len(logs),
        _exp(center),
        _exp(low),
        _exp(high),
        *interval(plain),
        less=less,
        greater=greater,
        deviation=deviation(finite),
        lost=len(logs) - len(finite),
    )


def not_significant(a: Scores, b: Scores) -> bool:
    """Whether the paired test on log FID, uncorrected, finds no difference; False from a single seed."""
    pair = paired([(a, b)])
    return pair.n > 1 and pair.p > ALPHA


def _log_ratio(contexts: Sequence[tuple[Scores, Scores]], seed: int) -> float:
    logs = [_log(a[seed]) - _log(b[seed]) for a, b in contexts]
    return sum(logs) / len(logs)  # infinity less infinity is NaN: no evidence


def _log(fid: float) -> float:
    return math.log(max(_finite(fid), SMALLEST)) if fid < math.inf else fid


def _finite(fid: float) -> float:
    return min(max(fid, -LARGEST), LARGEST)


def _exp(log: float) -> float:
    return math.exp(log) if log < 700 or math.isnan(log) else math.inf
