"""Effects of a two-level factorial on log FID: main effects, interactions, Shapley values, the best combination.

An effect is the mean log FID where the product of its axes' levels is 1, less that where it is -1 (Montgomery 2012). So
exp of a main effect is how many times as high FID is at `to` as at `from`, and exp of an interaction how many times as
high it is where both axes agree (both changed, or neither) as where only one is changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ablate.statistics import designs
from ablate.statistics.designs import Term
from ablate.statistics.effect import LARGEST, SMALLEST, Table
from ablate.statistics.over_seeds import OverSeeds, Variance, pooled, total
from ablate.statistics.significance import holm, reach

# value, lower and upper end of its 95 % interval; NaN ends where unknown
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Cells:
    """The results of a factorial.

    levels: of every row of the design, by row. logs: row -> seed -> log FID, of the rows that enter a fit. diverged:
    row -> how many of its seeds; such a row enters no fit. missing: rows without a result so far.
    """

    axes: tuple[str, ...]
    levels: Mapping[int, tuple[int, ...]]
    logs: Mapping[int, Mapping[int, float]]
    diverged: Mapping[int, int]
    missing: tuple[int, ...]

    @property
    def full(self) -> bool:
        """Whether the design has every combination."""
        return len(self.levels) == 1 << len(self.axes)

    @cached_property
    def regular(self) -> bool:
        """Whether every effect compares half of the rows with the other half."""
        return not any(designs.column(self.design, terms[0]).sum() for terms in self.alias_sets)

    @property
    def complete(self) -> bool:
        """Whether every row of a regular design is in the fit."""
        return len(self.logs) == len(self.levels) and self.regular

    @property
    def shared(self) -> list[int]:
        """The seeds that all rows in the fit have."""
        return (
            sorted(set.intersection(*(set(by_seed) for by_seed in self.logs.values()))) if self.logs else []
        )

    @cached_property
    def design(self) -> Any:
        """The levels of every row of the design, an array (rows, axes)."""
        import numpy as np

        return np.array([*self.levels.values()])

    @cached_property
    def alias_sets(self) -> list[list[Term]]:
        """Effects that the design cannot tell apart, as places in `axes`; each set is headed by its lowest order."""
        return designs.alias_sets(self.design)

    def aliases(self, term: Term) -> list[Term]:
        """The other effects that the design cannot tell from this one."""
        return [other for terms in self.alias_sets if term in terms for other in terms if other != term]

    def named(self, term: Sequence[int]) -> str:
        """An effect in words: `metric x noise`."""
        return " x ".join(self.axes[i] for i in term)


def collect(levels: Mapping[int, Mapping[str, int]], table: Table, nfe: int = 1) -> Cells:
    """The cells of the rows that have levels, measured in the way that most of them are.

    Args:
        levels: row -> axis -> -1 or 1; not empty, with the same axes in each row.
    """
    hows = sorted({how for row in levels for how in table.get((row, nfe), {})})
    how = max(hows, key=lambda h: sum(h in table.get((row, nfe), {}) for row in levels), default="")
    scores = {row: table.get((row, nfe), {}).get(how, {}) for row in levels}
    lost = {row: n for row, fids in scores.items() if (n := sum(not v < math.inf for v in fids.values()))}
    logs = {
        row: {seed: math.log(min(max(fid, SMALLEST), LARGEST)) for seed, fid in fids.items()}
        for row, fids in scores.items()
        if fids and row not in lost
    }
    missing = tuple(row for row, fids in scores.items() if not fids)
    return Cells(
        tuple(next(iter(levels.values()))),
        {row: tuple(by.values()) for row, by in levels.items()},
        logs,
        lost,
        missing,
    )


@dataclass(frozen=True)
class Effect:
    """An effect on log FID with its 95 % interval, NaN where no error is known; p is uncorrected, `corrected` Holm's.

    error: its standard error over seeds, with `df` degrees of freedom. aliases: main effects and two-way interactions
    that the design cannot tell apart from it.
    """

    term: Term
    value: float
    low: float
    high: float
    p: float
    corrected: float
    error: float
    df: float
    aliases: tuple[Term, ...] = ()

    @property
    def ratios(self) -> Interval:
        """The effect as a ratio of FIDs."""
        return math.exp(self.value), math.exp(self.low), math.exp(self.high)

    @property
    def tails(self) -> tuple[float, float]:
        """One-sided p for an effect above 0, and for one below."""
        small, large = self.p / 2, 1 - self.p / 2
        return (small, large) if self.value > 0 else (large, small)


@dataclass(frozen=True)
class Fit:
    """Least squares of the rows' mean log FID on main effects and two-way interactions.

    effects: main effects first. noise: the standard error of an effect from the spread of cells within rows alone; NaN
    where unknown. rest: how many more rows than effects, the degrees of freedom of interactions of three axes and more.
    explained: the share of the variance between rows. rows, cells, seeds: in the fit. best: the combination with the
    lowest prediction, as levels. predicted: FID of a cell of a new seed there; no interval if effects are aliased.
    """

    effects: list[Effect]
    noise: float
    rest: int
    explained: float
    rows: int
    cells: int
    seeds: int
    best: tuple[int, ...]
    predicted: Interval

    @property
    def saturated(self) -> bool:
        """Whether there are as many effects as recipes, so that the fit repeats whatever was measured."""
        return not self.rest

    def of(self, term: Term) -> Effect | None:
        """The effect of a term, also if it stands among the aliases of another."""
        return next((e for e in self.effects if term == e.term or term in e.aliases), None)


def fit(cells: Cells) -> Fit | None:
    """Fit all main effects and two-way interactions; None while the rows with results cannot tell them apart.

    Every row counts once, by the mean that it would have with all seeds: interactions of three and more axes then bias
    no effect while no row is lost. Seeds are a sample, so the error of an effect is how it varies from seed to seed,
    which includes the noise of cells. Main effects share a variance and interactions another, with a degree of freedom
    per effect and seed after the first; an effect that varies more keeps its own. A single seed shows no error.
    """
    import numpy as np
    import statsmodels.api as sm

    sets = [[term for term in terms if len(term) < 3] for terms in cells.alias_sets]
    sets = [terms for terms in sets if terms]
    points = [(row, seed, log) for row, by_seed in cells.logs.items() for seed, log in by_seed.items()]
    if not points or not sets:
        return None
    rows, seeds = np.array([*cells.logs]), np.unique([seed for _, seed, _ in points])
    of_row = (np.array([row for row, *_ in points])[:, None] == rows).astype(float)
    of_seed = (np.array([seed for _, seed, _ in points])[:, None] == seeds).astype(float)
    y = np.array([log for *_, log in points])
    X = _model(np.array([cells.levels[row] for row in rows]), sets)
    both = np.hstack([of_row, of_seed[:, 1:] - of_seed[:, :1]])
    if any(np.linalg.matrix_rank(model) < model.shape[1] for model in (X, both)):
        return None
    saturated = sm.OLS(y, both).fit()
    means = saturated.params[: len(rows)]
    found = sm.OLS(means, X).fit()
    weights = found.model.pinv_wexog @ saturated.model.pinv_wexog[: len(rows)]  # coefficients from cells
    within, between = _left_over(saturated), _left_over(found)
    bias, left, errors = _bias(cells, sets, found), OverSeeds(of_seed, y, both), list[Variance]()
    for order in (1, 2):
        at = [i for i, terms in enumerate(sets, 1) if len(terms[0]) == order]
        own = [left.variance(weights[i], of_row @ X[:, i]) for i in at]
        alike = pooled(own, [float(weights[i] @ weights[i]) for i in at], within.df)
        errors += [total(v, *_known(between, bias[i, i])) for i, v in zip(at, alike, strict=True)]
    everywhere = designs.full(len(cells.axes))
    outcomes = _model(everywhere, sets)
    lowest = int(np.argmin(outcomes @ found.params))
    best, n = outcomes[lowest], len(seeds)
    # the level of a seed, which no effect has, is in what the rows alone leave over
    seed = OverSeeds(of_seed, y, of_row).variance(best @ weights, np.ones(len(y))).times(1 + n)
    new = total(seed, within.times(1 - 1 / n), *_known(between, 1 + best @ bias @ best))
    # a sum may belong to another effect than the prediction takes
    confounded = any(len(terms) > 1 for terms in sets)
    spread = float(means.var() * len(rows))
    value, low, high = map(math.exp, _interval(float(best @ found.params), Variance() if confounded else new))
    return Fit(
        _effects(sets, 2 * found.params[1:], [v.times(4) for v in errors]),
        2 * math.sqrt(within.value * float(weights[1] @ weights[1])),
        int(found.df_resid),
        1 - float(found.ssr) / spread if spread > 0 else math.nan,
        len(rows),
        len(points),
        n,
        tuple(map(int, everywhere[lowest])),
        (value, low, high),
    )


def _model(levels: Any, sets: Sequence[Sequence[Term]]) -> Any:
    """The columns of the constant and of one effect of each set."""
    import numpy as np

    return np.column_stack([np.ones(len(levels)), *(designs.column(levels, terms[0]) for terms in sets)])


def _left_over(found: Any) -> Variance:
    """The variance of the residuals."""
    return Variance(float(found.mse_resid), float(found.df_resid)) if found.df_resid > 0 else Variance()


def _known(variance: Variance, factor: float) -> list[Variance]:
    """So many times the variance; nothing where it is not known."""
    return [variance.times(factor)] if variance.df else []


def _bias(cells: Cells, sets: Sequence[Sequence[Term]], found: Any) -> Any:
    """The covariance of the coefficients' biases by interactions of three axes and more with variance 1 in every row.

    In a regular design these are orthogonal to the effects, so only what they have in lost rows makes a bias.
    """
    import numpy as np

    covariance = found.normalized_cov_params
    if not cells.regular:
        return covariance
    lost = [levels for row, levels in cells.levels.items() if row not in cells.logs]
    moved = _model(np.array(lost).reshape(-1, len(cells.axes)), sets) @ covariance
    return moved.T @ moved


def _effects(sets: Sequence[Sequence[Term]], values: Any, errors: Sequence[Variance]) -> list[Effect]:
    from scipy.special import stdtr

    p = [
        float(min(1.0, 2 * stdtr(v.df, -abs(value) / math.sqrt(v.value)))) if v.value > 0 else 1.0
        for value, v in zip(values, errors, strict=True)
    ]
    return [
        Effect(
            terms[0], *_interval(float(value), v), one, corrected, math.sqrt(v.value), v.df, tuple(terms[1:])
        )
        for terms, value, v, one, corrected in zip(sets, values, errors, p, holm(p), strict=True)
    ]


def _interval(value: float, variance: Variance) -> Interval:
    half = reach(math.sqrt(variance.value), variance.df)
    return value, value - half, value + half


def contrasts(cells: Cells) -> list[tuple[Term, float]]:
    """Every effect that a complete design can tell apart, of all orders, by the means of the rows."""
    import numpy as np

    means = np.array([np.mean([*cells.logs[row].values()]) for row in cells.levels])
    heads = [terms[0] for terms in cells.alias_sets]
    return [(term, float(2 * (designs.column(cells.design, term) * means).mean())) for term in heads]
