"""Two sides compared over seeds, in log FID, so that an effect is a ratio and the scale of the noise matters less.

Welch's t-test with a floor under each row's variance: a few seeds that happen to agree say little about a row's spread,
and the spreads of the other rows of the table say what is usual (in the manner of the moderated t-test, Smyth 2004,
doi 10.2202/1544-6115.1027, but raised only: an unstable row keeps its own spread). `benchmarks/power.py` measures the
test's level and power on pools of real runs.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ablate.statistics.significance import ALPHA, mean, ranks, reach, variance

SMALLEST, LARGEST = 1e-6, 1e150  # of a finite FID that is compared; the smallest under a logarithm
SAME = 1e-9  # a sum of weights that is zero but for rounding
QUARTILE, SHARE = 0.25, 0.5  # the floor: this share of this quantile of the variances of a table's rows

Scores = Mapping[int, float]  # seed -> FID; infinite where training diverged


class Sample(NamedTuple):
    """What a side of a comparison measures: a row's FID after `nfe` network evaluations."""

    row: int
    nfe: int


Table = Mapping[tuple[int, int], Mapping[str, Scores]]  # Sample -> how it was measured -> scores


@dataclass(frozen=True)
class Effect:
    """The ratio of two sides' FIDs.

    n: seeds of the row that has the fewest. ratio: of geometric means, with its 95 % interval `low` to `high` (NaN
    where a row has a single seed). less: one-sided p for a ratio below 1; greater: for a ratio above 1 (both are 1 from
    a single seed). t, df: Welch's statistic against a ratio of 1, and its degrees of freedom; NaN where there is none.
    deviation: standard error of the log ratio, times the root of n. raised: the share of its variance that comes from
    the floor. lost: runs that diverged; ranks decide then.
    """

    n: int
    ratio: float
    low: float
    high: float
    less: float
    greater: float
    t: float
    df: float
    deviation: float
    raised: float = 0.0
    lost: int = 0

    @property
    def p(self) -> float:
        """Two-sided."""
        return min(1.0, 2 * min(self.less, self.greater))


def compare(pairs: Sequence[tuple[Sample, Sample]], table: Table, margin: float = 1.0) -> Effect | None:
    """Compare the pairs' first with their second samples, among values that were measured the same way.

    Args:
        pairs: comparisons that count as one, by their mean log ratio.
        margin: test against ratios that are so many times lower than 1.
    Returns:
        None if a sample has no values.
    """
    for measured in sorted({how for a, _ in pairs for how in table.get(a, {})}):
        scores = {sample: table.get(sample, {}).get(measured, {}) for pair in pairs for sample in pair}
        parts = contrast(pairs, scores)
        if all(part.by_seed for part in parts):
            return effect(parts, [floor(table, part.weights, measured) for part in parts], margin)
    return None


@dataclass(frozen=True)
class Part:
    """What a row contributes to a contrast.

    weights: (nfe, weight) of its log FIDs. by_seed: their weighted sum; infinite where training diverged, which is no
    evidence if all samples of a comparison are of this row.
    """

    weights: tuple[tuple[int, float], ...]
    by_seed: Mapping[int, float]

    @property
    def total(self) -> float:
        """The sum of its weights: positive on the first side of a comparison, zero if it stands on both."""
        return sum(weight for _, weight in self.weights)

    @property
    def finite(self) -> list[float]:
        """The sums that are finite."""
        return [value for value in self.by_seed.values() if math.isfinite(value)]


def contrast(pairs: Sequence[tuple[Sample, Sample]], scores: Mapping[Sample, Scores]) -> list[Part]:
    """The mean over pairs of the log ratio of their sides, as a sum over rows.

    Cells of different rows are independent, but the samples of one cell after one and two evaluations are not: those of
    a row are added up seed by seed.
    """
    weights = defaultdict[int, dict[int, float]](dict)
    for pair in pairs:
        for (row, nfe), sign in zip(pair, (1, -1), strict=True):
            weights[row][nfe] = weights[row].get(nfe, 0.0) + sign / len(pairs)
    return [_part(given, {nfe: scores[Sample(row, nfe)] for nfe in given}) for row, given in weights.items()]


def _part(weights: Mapping[int, float], scores: Mapping[int, Scores]) -> Part:
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in scores.values())))
    logs = {seed: {nfe: _log(scores[nfe][seed]) for nfe in weights} for seed in seeds}
    lost = {seed for seed, values in logs.items() if math.inf in values.values()}
    total = sum(weights.values())
    sums = {
        seed: math.copysign(math.inf, total)
        if seed in lost
        else sum(w * values[nfe] for nfe, w in weights.items())
        for seed, values in logs.items()
        if seed not in lost or abs(total) > SAME
    }
    return Part(tuple(sorted(weights.items())), sums)


def floor(table: Table, weights: Sequence[tuple[int, float]], measured: str = "") -> float:
    """The least variance that a row's weighted sum of log FIDs is taken to have; 0 if no row has two finite ones."""
    import numpy as np

    rows = sorted({row for row, _ in table})
    scores = [{nfe: table.get((row, nfe), {}).get(measured, {}) for nfe, _ in weights} for row in rows]
    parts = (_part(dict(weights), by_nfe) for by_nfe in scores)
    # rows that repeat cells count once
    columns = {tuple(part.by_seed.items()): part.finite for part in parts}
    known = [variance(values) for values in columns.values() if len(values) > 1]
    return SHARE * float(np.quantile(known, QUARTILE)) if known else 0.0


def effect(parts: Sequence[Part], floors: Sequence[float], margin: float = 1.0) -> Effect:
    """The sum of the parts' means, by Welch's t-test; by ranks of the two sides' runs if some diverged.

    Args:
        floors: the least variance of each part.
    Raises:
        ValueError: a part has no value, or margin is not above 0 and finite.
    """
    from scipy.special import stdtr

    if not 0 < margin < math.inf:
        raise ValueError(f"margin: above 0 and finite must hold, but got {margin}")
    n, lost = min(len(p.by_seed) for p in parts), sum(len(p.by_seed) - len(p.finite) for p in parts)
    if not n:
        raise ValueError("parts: one has no value")
    center, error, df, raised = _welch([part.finite for part in parts], floors)
    half = reach(error, df)
    if n < 2:
        less, greater = 1.0, 1.0
    elif lost:
        less, greater = _by_rank(parts, margin)
    else:
        moved = _over(center + math.log(margin), error)
        less, greater = float(stdtr(df, moved)), float(stdtr(df, -moved))
    bounds = _exp(center), _exp(center - half), _exp(center + half)
    t = _over(center, error)
    return Effect(n, *bounds, less, greater, t, df, error * math.sqrt(n), raised, lost)


def _welch(parts: Sequence[Sequence[float]], floors: Sequence[float]) -> tuple[float, float, float, float]:
    """Sum of means, standard error, Satterthwaite's degrees of freedom, share of the variance from the floors."""
    center = sum(map(mean, parts)) if all(parts) else math.nan
    if min(map(len, parts)) < 2:
        return center, math.nan, math.nan, 0.0
    own = [variance(values) / len(values) for values in parts]
    used = [max(v, least / len(values)) for v, least, values in zip(own, floors, parts, strict=True)]
    freedom, total = [len(values) - 1 for values in parts], sum(used)
    if not total:
        return center, 0.0, float(min(freedom)), 0.0
    df = 1 / sum((part / total) ** 2 / of for part, of in zip(used, freedom, strict=True))
    return center, math.sqrt(total), df, max(0.0, 1 - sum(own) / total)


def not_significant(a: Scores, b: Scores, least: float) -> bool:
    """Whether the test, uncorrected, finds no difference; False from a single seed.

    Args:
        least: the floor of their variances.
    """
    first, second = Sample(0, 1), Sample(1, 1)
    found = effect(contrast([(first, second)], {first: a, second: b}), [least, least])
    return found.n > 1 and found.p > ALPHA


def removed_by_pairing(rows: Iterable[Scores]) -> float | None:
    """The share of the variance of a difference that pairing seed by seed removes, over all pairs of rows.

    Zero if seeds have nothing in common, negative if they pull apart, None where no two rows share two seeds.
    """
    paired = unpaired = 0.0
    columns = [dict(row) for row in rows]
    for i, a in enumerate(columns):
        for b in columns[i + 1 :]:
            shared = [s for s in a if s in b and math.isfinite(a[s]) and math.isfinite(b[s])]
            if len(shared) > 1:
                first, second = (logs(side[s] for s in shared) for side in (a, b))
                paired += variance([x - y for x, y in zip(first, second, strict=True)])
                unpaired += variance(first) + variance(second)
    return 1 - paired / unpaired if unpaired else None


def _by_rank(parts: Sequence[Part], margin: float) -> tuple[float, float]:
    """One-sided p where runs diverged and only their order is known: that of the two rows for which it is larger."""
    sides: tuple[list[Part], list[Part]] = [], []
    for part in parts:
        if abs(part.total) > SAME:  # else its row stands on both sides
            sides[part.total < 0].append(part)
    found = [
        ranks(
            [_scaled(v, a) + math.log(margin) for v in a.by_seed.values()],
            [_scaled(v, b) for v in b.by_seed.values()],
        )
        for a, b in itertools.product(*sides)
    ]
    return max((less for less, _ in found), default=1.0), max((greater for _, greater in found), default=1.0)


def _scaled(value: float, part: Part) -> float:
    """A weighted sum of log FIDs as their weighted mean."""
    return value / part.total


def _over(center: float, error: float) -> float:
    """Their quotient; without a spread, equal to zero or different without doubt."""
    if error:
        return center / error
    return math.copysign(math.inf, center) if center else 0.0


def logs(fids: Iterable[float]) -> list[float]:
    """Logarithms of the finite ones."""
    return [_log(fid) for fid in fids if fid < math.inf]


def _log(fid: float) -> float:
    return math.log(min(max(fid, SMALLEST), LARGEST)) if fid < math.inf else math.inf


def _exp(log: float) -> float:
    return math.exp(log) if log < 700 or math.isnan(log) else math.inf
