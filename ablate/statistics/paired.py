"""Two sides compared seed by seed, in log FID, so that an effect is a ratio and the scale of the noise matters less."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ablate.statistics.significance import ALPHA, deviation, interval, signs, student

SMALLEST = 1e-6  # of a FID under a logarithm

Scores = Mapping[int, float]  # seed -> FID; infinite where training diverged


class Sample(NamedTuple):
    """What a side of a comparison measures: a row's FID after `nfe` network evaluations."""

    row: int
    nfe: int


Table = Mapping[tuple[int, int], Mapping[str, Scores]]  # Sample -> how it was measured -> scores


@dataclass(frozen=True)
class Paired:
    """How many times as high one side's FID is as the other's, over the seeds that both have.

    ratio: geometric mean, with its 95 % interval `low` to `high` (NaN from a single seed). difference: the same in FID.
    less, greater: p of the hypothesis that the ratio is not below, not above 1 (1 from a single seed).
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
        margin: test against ratios that are so many times lower than 1.
    """
    shared = sorted(set.intersection(*(set(a) & set(b) for a, b in contexts)))
    ratios = [(d, seed) for seed in shared if not math.isnan(d := _log_ratio(contexts, seed))]
    logs = [d for d, _ in ratios]
    finite = [d for d in logs if math.isfinite(d)]
    plain = [sum(a[s] - b[s] for a, b in contexts) / len(contexts) for d, s in ratios if math.isfinite(d)]
    center, low, high = interval(finite)
    moved = [d + math.log(margin) for d in logs]
    less, greater = signs(moved) if len(finite) < len(logs) else student(moved)
    return Paired(
        len(logs),
        math.exp(center),
        math.exp(low),
        math.exp(high) if high < 700 or math.isnan(high) else math.inf,
        *interval(plain),
        less=less,
        greater=greater,
        deviation=deviation(finite),
        lost=len(logs) - len(finite),
    )


def not_significant(a: Scores, b: Scores) -> bool:
    """Whether the paired t-test on log FID, uncorrected, finds no difference; False from a single seed."""
    logs = [_log_ratio([(a, b)], seed) for seed in sorted(set(a) & set(b))]
    return len(logs) > 1 and 2 * min(student(logs)) > ALPHA


def _log_ratio(contexts: Sequence[tuple[Scores, Scores]], seed: int) -> float:
    logs = [math.log(max(a[seed], SMALLEST)) - math.log(max(b[seed], SMALLEST)) for a, b in contexts]
    return sum(logs) / len(logs)  # infinity less infinity is NaN: no evidence
