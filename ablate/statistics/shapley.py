"""What each axis contributes to the way from one recipe to another: Shapley values, over every order of the changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate.statistics.factorial import Cells, Effect, Fit, Interval
from ablate.statistics.significance import reach


@dataclass(frozen=True)
class Way:
    """What an axis contributes to the way from `from` to `to`, in log FID.

    shapley: its Shapley value, its mean step over all ladders, with its 95 % interval. share: of the whole way.
    ladder: its step in the ladder in the order of the axes. least, most: its steps over all ladders. NaN where unknown.
    """

    axis: str
    shapley: Interval
    share: Interval
    ladder: float = math.nan
    least: float = math.nan
    most: float = math.nan


def ways(cells: Cells) -> list[Way]:
    """The exact way of every axis; empty unless the design is full and complete, and all rows share a seed.

    The value of a coalition is the log FID of the recipe with these axes at `to`. A share's interval is that of a ratio
    by the delta method.
    """
    import numpy as np

    seeds, k = cells.shared, len(cells.axes)
    if not (cells.full and cells.complete and seeds):
        return []
    worth = np.empty((len(seeds), 2**k))
    for row, levels in cells.levels.items():
        mask = sum(1 << i for i, level in enumerate(levels) if level > 0)
        worth[:, mask] = [cells.logs[row][seed] for seed in seeds]
    whole = worth[:, -1] - worth[:, 0]
    masks = np.arange(2**k)
    sizes = np.array([int(mask).bit_count() for mask in masks])
    found = []
    for i, axis in enumerate(cells.axes):
        without = masks[masks >> i & 1 == 0]
        weights = np.array([1 / (k * math.comb(k - 1, size)) for size in sizes[without]])
        steps = worth[:, without | 1 << i] - worth[:, without]
        own, mean = steps @ weights, steps.mean(0)
        share = own.mean() / whole.mean() if whole.mean() else math.nan
        relative = share + (own - share * whole) / whole.mean() if whole.mean() else own * math.nan
        before = int(np.flatnonzero(without == (1 << i) - 1)[0])
        found.append(
            Way(
                axis,
                _over_seeds(own),
                _over_seeds(relative),
                float(mean[before]),
                float(mean.min()),
                float(mean.max()),
            )
        )
    return found


def _over_seeds(values: Any) -> Interval:
    """The mean with its t-interval."""
    n, center = len(values), float(values.mean())
    if n < 2:
        return center, math.nan, math.nan
    half = reach(float(values.std(ddof=1)), n - 1) / math.sqrt(n)
    return center, center - half, center + half


def estimated_ways(cells: Cells, found: Fit, steps: Mapping[str, float]) -> list[Way]:
    """The way of every axis by a fit: without interactions of three and more axes, Shapley values are main effects.

    Args:
        steps: the ladder's step by axis, as far as it is known.
    """
    main = found.effects[: len(cells.axes)]
    whole = math.fsum(effect.value for effect in main) or math.nan
    square = math.fsum(effect.error**2 for effect in main)
    return [
        Way(axis, (e.value, e.low, e.high), _share(e, whole, square), steps.get(axis, math.nan))
        for axis, e in zip(cells.axes, main, strict=True)
    ]


def _share(effect: Effect, whole: float, square: float) -> Interval:
    """An effect's share of the sum of effects that are estimated independently, by the delta method.

    Args:
        square: the sum of their squared errors.
    """
    share, own = effect.value / whole, effect.error**2
    error = math.sqrt((1 - share) ** 2 * own + share**2 * (square - own)) / abs(whole)
    half = error / effect.error * (effect.high - effect.low) / 2 if effect.error else error
    return share, share - half, share + half
