"""What becomes of FIDs and of effects with more images: laws, trends, and predictions for the next budget.

An effect is the log ratio of a row's FID to its base's, with the error that it has in a table of results (`effect`). A
trend is the slope of the straight line through the effects, a weighted sum of the same means, so its error comes from
the same test. A prediction has few seeds for what is not seen yet: it pools the variances over budgets for each side.
The x axis counts doublings of the number of images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ablate.statistics.bootstrap import Estimate
from ablate.statistics.effect import Effect, Part, effect
from ablate.statistics.significance import ALPHA, mean, reach, variance

if TYPE_CHECKING:
    import numpy as np

FLOORED = 4  # budgets from which on a law may have a floor
BENT = 0.05  # how far an effect, in log FID, bends away from its line within a doubling: docs/budgets.md, calibration
GROWS, SHRINKS, VANISHES, TURNS, STAYS, OPEN = "grows", "shrinks", "vanishes", "turns", "stays", "open"
STEADY = 0.5  # an effect stays if it changes by less than this share of itself


class Point(NamedTuple):
    """The log FIDs of a row and of its base at one number of images, a value per seed, all finite.

    floor: the least variance of each, from all rows at this number of images.
    """

    images: float
    row: Sequence[float]
    base: Sequence[float]
    floor: float = 0.0


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
        half = reach(math.sqrt(self.covariance[-1, -1]), self.df) if self.df else math.nan
        return self.exponent - half, self.exponent + half

    def at(self, images: float) -> Estimate:
        """FID at a number of images, with the 95 % interval of its geometric mean (delta method)."""
        doubling = math.log(images / self.unit)
        falling = self.scale * math.exp(-self.exponent * doubling)
        value = self.floor + falling
        share = falling / value
        slopes = [*([1 - share] if self.floor else []), share, -share * doubling]
        if not self.df:
            return value, math.nan, math.nan
        half = reach(math.sqrt(slopes @ self.covariance @ slopes), self.df)
        return value, value * math.exp(-half), value * math.exp(half)


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

    values: the effects, as a table of results has them. trend: the least squares line's change in a doubling; middle:
    the mean over budgets. A budget with a single seed leaves its own effect, the trend and the mean without interval.
    """

    images: tuple[float, ...]
    values: tuple[Effect, ...]
    trend: Effect
    middle: Effect

    def word(self, p: float) -> str:
        """What becomes of the effect with more images.

        Args:
            p: of the trend, corrected for the other rows.
        Returns:
            `turns`: the trend is significant, and the intervals of two budgets lie on both sides of no effect.
            `grows`: the trend is significant and leads away from no effect, which the last interval excludes.
            `vanishes`: it is significant and leads towards no effect, which the first interval excludes and the last
            does not. `shrinks`: the last excludes it too. `stays`: it is not significant, the mean effect is, and the
            interval of the change from the first to the last budget is within half of that mean. `open`: none of these,
            or a budget has a single seed.
        """
        if self.trend.n < 2:
            return OPEN
        sides = [*map(_side, self.values)]
        if p <= ALPHA:
            up = 1 if self.trend.ratio > 1 else -1
            if {1, -1} <= set(sides):
                return TURNS
            if sides[-1] == up:
                return GROWS
            if sides[0] == -up:
                return SHRINKS if sides[-1] else VANISHES
            return OPEN
        span = math.log2(self.images[-1] / self.images[0])
        change = span * max(-_log(self.trend.low), _log(self.trend.high))
        return STAYS if _side(self.middle) and change <= STEADY * abs(_log(self.middle.ratio)) else OPEN


def effects(points: Sequence[Point]) -> Effects | None:
    """The effects and their trend; None of fewer than two budgets."""
    points = sorted(points, key=lambda point: point.images)
    if len(points) < 2:
        return None
    x = [math.log2(point.images) for point in points]
    away = [v - mean(x) for v in x]
    square = math.fsum(v**2 for v in away)
    return Effects(
        tuple(point.images for point in points),
        tuple(map(at_budget, points)),
        _sum(points, [v / square for v in away]),
        _sum(points, [1 / len(points)] * len(points)),
    )


def at_budget(point: Point) -> Effect:
    """The effect at one number of images."""
    return _sum([point], [1.0])


def _sum(points: Sequence[Point], weights: Sequence[float]) -> Effect:
    """The weighted sum of the log ratios."""
    sides = [
        (sign * weight, values, point.floor)
        for point, weight in zip(points, weights, strict=True)
        for sign, values in ((1, point.row), (-1, point.base))
    ]
    parts = [Part(((1, w),), {i: w * v for i, v in enumerate(values)}) for w, values, _ in sides]
    return effect(parts, [w**2 * floor for w, _, floor in sides])


def _side(of: Effect) -> int:
    """1 if the interval is above no effect, -1 if it is below, 0 if it includes it or is not known."""
    return 1 if of.low > 1 else -1 if of.high < 1 else 0


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf


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

    def half(noise: float) -> float:
        total = noise + bend
        return reach(math.sqrt(total), df * (total / noise) ** 2)

    true, seen = half(noise), half(noise + later)
    return Prediction(value, value - true, value + true, value - seen, value + seen)
