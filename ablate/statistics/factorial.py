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
from ablate.statistics.significance import ALPHA, holm

Interval = tuple[
    float, float, float
]  # value, lower and upper end of its 95 % interval; NaN ends where unknown


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
    def complete(self) -> bool:
        """Whether every row of a regular design is in the fit: each effect is half its rows against the other half."""
        sums = [int(designs.column(self.design, terms[0]).sum()) for terms in self.alias_sets]
        return len(self.logs) == len(self.levels) and not any(sums)

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

    aliases: main effects and two-way interactions that the design cannot tell apart from it.
    """

    term: Term
    value: float
    low: float
    high: float
    p: float
    corrected: float
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
    """Ordinary least squares of log FID on main effects and two-way interactions, with seeds as blocks.

    effects: main effects first. error: the standard error of an effect, the largest of all. df: its degrees of freedom.
    pure: whether the error is the spread over seeds within rows, else the residual of the fit. explained: the share of
    the variance between rows. rows, cells, seeds: in the fit. best: the combination with the lowest prediction, as
    levels. predicted: FID of a new cell there.
    """

    effects: list[Effect]
    error: float
    df: float
    pure: bool
    explained: float
    rows: int
    cells: int
    seeds: int
    best: tuple[int, ...]
    predicted: Interval

    def of(self, term: Term) -> Effect | None:
        """The effect of a term, also if it stands among the aliases of another."""
        return next((e for e in self.effects if term == e.term or term in e.aliases), None)


def fit(cells: Cells) -> Fit | None:
    """Fit all main effects and two-way interactions; None while the rows with results cannot tell them apart.

    Seeds are blocks wherever there are two or more, because rows of one seed share noise and initial weights. The error
    is the spread over seeds within rows where every row of the design has the same seeds, two or more: interactions of
    three and more axes then neither bias an effect nor widen it. Elsewhere it is the residual, which includes them.
    """
    import numpy as np
    import statsmodels.api as sm

    sets = [[term for term in terms if len(term) < 3] for terms in cells.alias_sets]
    sets = [terms for terms in sets if terms]
    points = [(row, seed, log) for row, by_seed in cells.logs.items() for seed, log in by_seed.items()]
    seeds = sorted({seed for _, seed, _ in points})
    if not points or not sets:
        return None
    levels = np.array([cells.levels[row] for row, *_ in points])
    y = np.array([log for *_, log in points])
    block = np.array(
        [[(s == seed) - (s == seeds[0]) for seed in seeds[1:]] for _, s, _ in points], dtype=float
    )
    X = np.hstack([_model(levels, sets), block])
    if np.linalg.matrix_rank(X) < X.shape[1]:
        return None
    found = sm.OLS(y, X).fit()
    rows = np.array([row for row, *_ in points])
    means = (rows[:, None] == np.unique(rows)).astype(float)
    saturated = sm.OLS(y, np.hstack([means, block])).fit()
    alike = len({frozenset(by_seed) for by_seed in cells.logs.values()}) == 1
    pure = bool(cells.complete and alike and saturated.df_resid > 0)
    scale, df = _scale(saturated if pure else found)
    errors = 2 * np.sqrt(np.diag(found.normalized_cov_params) * scale)[1 : len(sets) + 1]
    values = 2 * found.params[1 : len(sets) + 1]
    between = saturated.centered_tss - saturated.ssr - _of_blocks(y, block)
    explained = 1 - max(0.0, found.ssr - saturated.ssr) / between if between > 0 else math.nan
    everywhere = designs.full(len(cells.axes))
    outcomes = _model(everywhere, sets)
    at = int(np.argmin(outcomes @ found.params[: len(sets) + 1]))
    best = tuple(map(int, everywhere[at]))
    return Fit(
        _effects(sets, values, errors, df),
        float(errors.max()),
        df,
        pure,
        explained,
        len(cells.logs),
        len(points),
        len(seeds),
        best,
        _predicted(found, np.hstack([outcomes[at], np.zeros(block.shape[1])])),
    )


def _model(levels: Any, sets: Sequence[Sequence[Term]]) -> Any:
    """The columns of the constant and of one effect of each set."""
    import numpy as np

    return np.column_stack([np.ones(len(levels)), *(designs.column(levels, terms[0]) for terms in sets)])


def _scale(found: Any) -> tuple[float, float]:
    """Variance of a cell and its degrees of freedom; NaN and 0 where none are left."""
    df = float(found.df_resid)
    return (float(found.ssr) / df, df) if df > 0 else (math.nan, 0.0)


def _of_blocks(y: Any, block: Any) -> float:
    """The sum of squares between seeds."""
    import statsmodels.api as sm

    return float(sm.OLS(y, sm.add_constant(block)).fit().ess) if block.shape[1] else 0.0


def _effects(sets: Sequence[Sequence[Term]], values: Any, errors: Any, df: float) -> list[Effect]:
    from scipy.special import stdtr, stdtrit

    reach = errors * float(stdtrit(df, 1 - ALPHA / 2)) if df else errors * math.nan
    p = [
        float(min(1.0, 2 * stdtr(df, -abs(v) / e))) if e > 0 else 1.0
        for v, e in zip(values, errors, strict=True)
    ]
    corrected = holm(p)
    return [
        Effect(terms[0], float(v), float(v - r), float(v + r), p[i], corrected[i], tuple(terms[1:]))
        for i, (terms, v, r) in enumerate(zip(sets, values, reach, strict=True))
    ]


def _predicted(found: Any, at: Any) -> Interval:
    """FID of a new cell, by the fit."""
    if not found.df_resid > 0:
        return math.exp(float(at @ found.params)), math.nan, math.nan
    there = found.get_prediction(at[None])
    low, high = there.conf_int(obs=True, alpha=ALPHA)[0]
    return math.exp(there.predicted_mean[0]), math.exp(low), math.exp(high)


def contrasts(cells: Cells) -> list[tuple[Term, float]]:
    """Every effect that a complete design can tell apart, of all orders, by the means of the rows."""
    import numpy as np

    means = np.array([np.mean([*cells.logs[row].values()]) for row in cells.levels])
    heads = [terms[0] for terms in cells.alias_sets]
    return [(term, float(2 * (designs.column(cells.design, term) * means).mean())) for term in heads]
