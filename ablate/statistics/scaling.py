"""What becomes of FIDs and of effects with more images: laws, trends, and predictions for the next budget.

An effect is the log ratio of a row's FID to its base's, as in `effect`. Its variance at a budget is that of the two
means, from the variances of log FID over seeds, pooled over budgets for each side: two or three seeds of one budget say
little about their spread. The x axis counts doublings of the number of images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ablate.statistics.bootstrap import Estimate
from ablate.statistics.significance import ALPHA, mean, variance

if TYPE_CHECKING:
    import numpy as np

FLOORED = 4  # budgets from which on a law may have a floor
BENT = 0.05  # how far an effect, in log FID, bends away from its line within a doubling: docs/budgets.md, calibration
GROWS, SHRINKS, VANISHES, TURNS, STAYS, OPEN = "grows", "shrinks", "vanishes", "turns", "stays", "open"
STEADY = 0.5  # an effect stays if it changes by less than this share of itself


class Point(NamedTuple):
    """The log FIDs of a row and of its base at one number of images, a value per seed, all finite."""

    images: float
    row: Sequence[float]
    base: Sequence[float]


@dataclass(frozen=True)
class Law:
    """FID(n) = floor + scale (n / unit)^-exponent, fitted to log FID by least squares.

    covariance: of log floor (without a floor it has no such line), log scale and exponent. df: cells minus parameters;
    0: the fit leaves nothing to estimate an interval from.
    """

    floor: float
    scale: float
    exponent: float
    unit: float
    covariance: np.ndarray
    df: int

    def interval(self) -> tuple[float, float]:
        """The exponent's 95 % interval."""
        reach = _quantile(self.df) * math.sqrt(self.covariance[-1, -1]) if self.df else math.nan
        return self.exponent - reach, self.exponent + reach

    def at(self, images: float) -> Estimate:
        """FID at a number of images, with the 95 % interval of its geometric mean (delta method)."""
        doubling = math.log(images / self.unit)
        falling = self.scale * math.exp(-self.exponent * doubling)
        value = self.floor + falling
        share = falling / value
        slopes = [*([1 - share] if self.floor else []), share, -share * doubling]
        if not self.df:
            return value, math.nan, math.nan
        reach = _quantile(self.df) * math.sqrt(slopes @ self.covariance @ slopes)
        return value, value * math.exp(-reach), value * math.exp(reach)


def law(images: Sequence[float], fids: Sequence[float]) -> Law | None:
    """The law of cells at two or more numbers of images; None of fewer, or where a FID is not above 0 and finite.

    A power law. With four budgets, it has a floor if that makes the squared errors significantly smaller (F-test).
    """
    import numpy as np

    if len(set(images)) < 2 or not all(0 < fid < math.inf for fid in fids):
        return None
    unit = math.exp(mean([math.log(n) for n in images]))
    x, y = np.log(np.asarray(images, dtype=float) / unit), np.log(np.asarray(fids, dtype=float))
    design = np.stack([np.ones_like(x), -x], 1)
    (scale, exponent), *_ = np.linalg.lstsq(design, y, rcond=None)
    errors, df = float(((y - design @ (scale, exponent)) ** 2).sum()), len(y) - 2
    if len(set(images)) >= FLOORED and (floored := _floored(x, y, unit, errors)):
        return floored
    covariance = np.linalg.inv(design.T @ design) * (errors / df if df else math.nan)
    return Law(0.0, math.exp(scale), float(exponent), unit, covariance, df)


def _floored(x: Any, y: Any, unit: float, plain: float) -> Law | None:
    """The law with a floor, None where it is not significantly better than `plain`, the power law's squared errors."""
    import numpy as np
    from scipy import optimize, stats

    def logs(found: Any) -> Any:
        return np.logaddexp(found[0], found[1] - found[2] * x)

    start = [y.min() - math.log(2), y.mean() - math.log(2), 1.0]
    bounds = ([-20, -20, 1e-3], [300, 300, 20])
    fit = optimize.least_squares(lambda found: logs(found) - y, start, bounds=bounds, x_scale=0.1)
    errors, df = 2 * fit.cost, len(y) - 3
    information = fit.jac.T @ fit.jac
    if df < 1 or errors <= 0 or np.linalg.cond(information) > 1e12:
        return None
    if stats.f.sf((plain - errors) / (errors / df), 1, df) > ALPHA:
        return None
    floor, scale, exponent = fit.x
    covariance = np.linalg.inv(information) * errors / df
    return Law(math.exp(floor), math.exp(scale), float(exponent), unit, covariance, df)


@dataclass(frozen=True)
class Effects:
    """A row's effect at every budget, smallest first, and its trend.

    values: log ratios. variances: of these. df: degrees of freedom of all the variances. slope: of the weighted least
    squares line, in log ratio per doubling; p: two-sided, from its t-test.
    """

    images: tuple[float, ...]
    values: tuple[float, ...]
    variances: tuple[float, ...]
    df: float
    slope: float
    error: float
    p: float

    def interval(self, at: int) -> tuple[float, float]:
        """The 95 % interval of the effect at a budget."""
        reach = _quantile(self.df) * math.sqrt(self.variances[at])
        return self.values[at] - reach, self.values[at] + reach

    @property
    def reach(self) -> float:
        """Half the width of the slope's 95 % interval."""
        return _quantile(self.df) * self.error

    def word(self, p: float) -> str:
        """What becomes of the effect with more images.

        Args:
            p: of the trend, corrected for the other rows.
        Returns:
            `turns`: the trend is significant, and the intervals of two budgets lie on both sides of no effect.
            `grows`: the trend is significant and leads away from no effect, which the last interval excludes.
            `vanishes`: it is significant and leads towards no effect, which the first interval excludes and the last
            does not. `shrinks`: the last excludes it too. `stays`: it is not significant, the mean effect is, and the
            interval of the change from the first to the last budget is within half of that mean. `open`: none of these.
        """
        sides = [
            1 if low > 0 else -1 if high < 0 else 0
            for low, high in map(self.interval, range(len(self.values)))
        ]
        up = 1 if self.slope > 0 else -1
        if p <= ALPHA:
            if {1, -1} <= set(sides):
                return TURNS
            if sides[-1] == up:
                return GROWS
            if sides[0] == -up:
                return SHRINKS if sides[-1] else VANISHES
            return OPEN
        weights = [1 / v for v in self.variances]
        middle = sum(w * e for w, e in zip(weights, self.values, strict=True)) / sum(weights)
        quantile, span = _quantile(self.df), math.log2(self.images[-1] / self.images[0])
        known = abs(middle) > quantile / math.sqrt(sum(weights))
        change = span * (abs(self.slope) + self.reach)
        return STAYS if known and change <= STEADY * abs(middle) else OPEN


def effects(points: Sequence[Point]) -> Effects | None:
    """The effects and their trend; None of fewer than two budgets, or where each side has one seed at every budget."""
    import numpy as np
    from scipy.special import stdtr

    points = sorted(points, key=lambda point: point.images)
    spread = _spread(points)
    if len(points) < 2 or spread is None:
        return None
    values, variances, df = spread
    x = np.log2([point.images for point in points])
    weights = 1 / np.asarray(variances)
    centered = x - (weights * x).sum() / weights.sum()
    information = float((weights * centered**2).sum())
    slope, error = float((weights * centered * values).sum()) / information, 1 / math.sqrt(information)
    p = 2 * float(stdtr(df, -abs(slope) / error))
    images = tuple(point.images for point in points)
    return Effects(images, tuple(values), tuple(variances), df, slope, error, p)


def _spread(points: Sequence[Point]) -> tuple[list[float], list[float], float] | None:
    """Effects, their variances and the degrees of freedom of these (Satterthwaite's); None without repeated seeds."""
    sides = []
    for side in ("row", "base"):
        given: list[Sequence[float]] = [getattr(point, side) for point in points]
        df = sum(len(values) - 1 for values in given)
        if df < 1 or not all(map(len, given)):
            return None
        pooled = sum((len(v) - 1) * variance(v) for v in given if len(v) > 1) / df
        sides.append((max(pooled, TINY), df, [len(values) for values in given]))
    (row, row_df, row_n), (base, base_df, base_n) = sides
    variances = [row / n + base / m for n, m in zip(row_n, base_n, strict=True)]
    parts = mean([1 / n for n in row_n]) * row, mean([1 / n for n in base_n]) * base
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / row_df + parts[1] ** 2 / base_df)
    return [mean(point.row) - mean(point.base) for point in points], variances, freedom


TINY = 1e-12  # of a variance: seeds that agree to the last digit have one too


@dataclass(frozen=True)
class Prediction:
    """An effect at a budget that is not computed yet, in log ratio, with 95 % intervals.

    low, high: of the true effect. seen_low, seen_high: of what its planned seeds will show.
    """

    value: float
    low: float
    high: float
    seen_low: float
    seen_high: float


def predict(points: Sequence[Point], images: float, seeds: int, bent: float = BENT) -> Prediction | None:
    """The effect at `images`, from those at fewer; None of fewer than two budgets or without repeated seeds.

    Universal kriging: effects are a straight line over doublings, plus a bend away from it that is an integrated random
    walk (its variance over a step of h doublings is bent^2 h^3 / 3), plus the noise of the seeds. With bent = 0 this is
    weighted least squares. The interval takes Student's t with Satterthwaite's degrees of freedom, of which the bend,
    whose size is not estimated, has no part.

    Args:
        seeds: of the row, and of the base, at the new budget.
    """
    import numpy as np

    points = sorted(points, key=lambda point: point.images)
    spread = _spread(points)
    if len(points) < 2 or spread is None:
        return None
    values, variances, df = spread
    x = np.log2([*(point.images for point in points), images])
    x -= x[0]
    near, far = np.minimum.outer(x, x), np.maximum.outer(x, x)
    bends = bent**2 * near**2 * (far - near / 3) / 2
    own, cross = bends[:-1, :-1] + np.diag(variances), bends[:-1, -1]
    design, new = np.stack([np.ones(len(points)), x[:-1]], 1), np.array([1.0, x[-1]])
    k = len(points)
    system = np.block([[own, design], [design.T, np.zeros((2, 2))]])
    weights = np.linalg.solve(system, np.concatenate([cross, new]))[:k]
    value = float(weights @ values)
    noise = float(weights**2 @ variances)
    bend = float(weights @ bends[:-1, :-1] @ weights - 2 * weights @ cross + bends[-1, -1])
    used = mean([len(point.row) for point in points])
    later = mean(variances) * used / max(seeds, 1)

    def reach(noise: float) -> float:
        total = noise + bend
        return _quantile(df * (total / noise) ** 2) * math.sqrt(total)

    true, seen = reach(noise), reach(noise + later)
    return Prediction(value, value - true, value + true, value - seen, value + seen)


def _quantile(df: float) -> float:
    """Of Student's t, for a two-sided 95 % interval."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 1 - ALPHA / 2))
