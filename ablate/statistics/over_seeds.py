"""The variance of weighted sums of cells when seeds are a sample and what they do is shared between rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

SAME = 1e-12  # a sum of squared weights that is zero but for rounding


@dataclass(frozen=True)
class Variance:
    """A variance with its degrees of freedom; NaN with 0 where it is not known."""

    value: float = math.nan
    df: float = 0.0

    def times(self, factor: float) -> Variance:
        """Of the quantity times the root of `factor`."""
        return Variance(self.value * factor, self.df)


def total(*parts: Variance) -> Variance:
    """The variance of a sum of independent quantities, with Satterthwaite's degrees of freedom."""
    value, known = sum(part.value for part in parts), [part for part in parts if part.value > 0]
    if math.isnan(value):
        return Variance()
    return Variance(
        value,
        1 / sum((p.value / value) ** 2 / p.df for p in known) if known else min(p.df for p in parts),
    )


@dataclass(frozen=True)
class OverSeeds:
    """Cells by seed. of_seed: which cell has which seed, an array of 0 and 1. model: the columns that explain `y`.

    Each seed's part of a weighted sum is seen in the residuals; the sum of their squares is a cluster-robust variance
    (Bell and McCaffrey 2002). Its correction for few seeds is exact where every row has the same seeds.
    """

    of_seed: Any
    y: Any
    model: Any

    def variance(self, weights: Any, along: Any) -> Variance:
        """The variance of `weights @ y`.

        Args:
            along: what a seed may add to every cell, up to a factor of its own: the levels of an effect, or ones.
        """
        import numpy as np

        own = self.of_seed.T * weights
        left = own - own @ self._basis @ self._basis.T  # how much of every seed's part the residuals show
        spread = left @ left.T
        shown = float(np.trace(spread))
        if shown < SAME * float(weights @ weights):
            return Variance()
        by_seed = self.of_seed * along[:, None]
        # if cells are all that varies, and if what each seed adds is; the same where every row has the same seeds
        cells = float(weights @ weights) / shown
        seeds = float(((weights @ by_seed) ** 2).sum() / ((left @ by_seed) ** 2).sum())
        return Variance(
            float(((left @ self.y) ** 2).sum()) * max(cells, seeds), shown**2 / float((spread**2).sum())
        )

    @cached_property
    def _basis(self) -> Any:
        import numpy as np

        return np.linalg.qr(self.model)[0]


def pooled(own: Sequence[Variance], scales: Sequence[float], most: float) -> list[Variance]:
    """What quantities that vary alike over seeds have in common, or their own variance where it is larger.

    An average alone would hide a quantity that varies more than the others; a variance of few seeds alone is rough.

    Args:
        scales: what each variance is proportional to.
        most: degrees of freedom of all cells.
    """
    known = [(v.times(1 / scale), v.df) for v, scale in zip(own, scales, strict=True) if v.df]
    if not known:
        return [Variance()] * len(own)
    df = sum(df for _, df in known)
    common = sum(v.value * df for v, df in known) / df
    return [
        Variance(max(common * scale, v.value if v.df else 0.0), min(df, most))
        for v, scale in zip(own, scales, strict=True)
    ]
