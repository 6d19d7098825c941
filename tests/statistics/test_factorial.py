"""Effects of factorials: on simulated tables intervals cover the truth, and what is lost is not estimated."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ablate.statistics import designs, factorial
from ablate.statistics.shapley import estimated_ways, ways

AXES = "abcdefg"
CELL, SEED = 0.1, 0.2  # standard deviation of a cell, and of what the rows of a seed share


def levels(design):
    return {i: dict(zip(AXES, run, strict=False)) for i, run in enumerate(design.tolist())}


def table(truth, rng, seeds=3, moved=()):
    """FIDs of every row: its true log FID, something that the rows of a seed share, and the cell's own noise.

    moved: (column, standard deviation) of effects that vary from seed to seed.
    """
    logs = truth[:, None] + rng.normal(0, SEED, seeds) + rng.normal(0, CELL, (len(truth), seeds))
    for column, deviation in moved:
        logs += column[:, None] / 2 * rng.normal(0, deviation, seeds)
    return {(i, 1): {"": dict(enumerate(np.exp(row).tolist()))} for i, row in enumerate(logs)}


def moved(design, deviations):
    """The main effects that vary over seeds."""
    return [(column, deviation) for column, deviation in zip(design.T, deviations, strict=True)]


def truth_of(design, orders, rng):
    """True log FIDs with effects of these orders, and the effects."""
    axes = range(design.shape[1])
    effects = {t: rng.normal(0, 0.5 / len(t)) for n in orders for t in itertools.combinations(axes, n)}
    return 3 + sum(v / 2 * designs.column(design, t) for t, v in effects.items()), effects


def shapley(value, axes):
    """By its definition: the mean step over all orders of the axes."""
    found = dict.fromkeys(range(axes), 0.0)
    for order in itertools.permutations(range(axes)):
        have = set()
        for axis in order:
            found[axis] += (value[frozenset(have | {axis})] - value[frozenset(have)]) / math.factorial(axes)
            have.add(axis)
    return [found[i] for i in range(axes)]


def values(design, logs):
    return {frozenset(np.flatnonzero(run > 0).tolist()): log for run, log in zip(design, logs, strict=True)}


def covered(found, true):
    return [low <= t <= high for (_, low, high), t in zip(found, true, strict=True)]


def within(rates, n, high=1.0):
    """Whether shares of at least n intervals are not below 95 % by more than three standard errors."""
    return all(0.95 - 3 * math.sqrt(0.95 * 0.05 / n) <= rate <= high for rate in rates.values())


@pytest.mark.parametrize("deviation", [0, 0.04, 0.1])
def test_intervals_of_full_factorials_cover_the_truth_in_the_mean_over_seeds(deviation):
    """100 tables of 16 recipes and three seeds, with interactions of all orders and main effects that seeds move."""
    rng, design = np.random.default_rng(0), designs.full(4)
    at = {tuple(run): i for i, run in enumerate(design.tolist())}
    hits = {"main": [], "pairs": [], "shapley": [], "share": [], "new": []}
    for _ in range(100):
        truth, effects = truth_of(design, (1, 2, 3, 4), rng)
        moves = moved(design, [deviation] * 4)
        cells = factorial.collect(levels(design), table(truth, rng, moved=moves))
        fit = factorial.fit(cells)
        assert [e.df for e in fit.effects] == pytest.approx([8] * 4 + [12] * 6)
        for e in fit.effects:
            hits["main" if len(e.term) == 1 else "pairs"].append(e.low <= effects[e.term] <= e.high)
        found, true = ways(cells), shapley(values(design, truth), 4)
        hits["shapley"] += covered([way.shapley for way in found], true)
        if abs(sum(true)) > 1:  # a share of a way that leads nowhere has no meaning
            hits["share"] += covered([way.share for way in found], [t / sum(true) for t in true])
        new = math.log(table(truth, rng, 1, moves)[at[fit.best], 1][""][0])
        hits["new"].append(fit.predicted[1] <= math.exp(new) <= fit.predicted[2])
    assert within({name: np.mean(found) for name, found in hits.items()}, 100), hits


@pytest.mark.parametrize("seeds", [2, 4])
def test_intervals_of_fractions_cover_the_sum_of_aliased_effects(seeds):
    """100 tables of a 2^(7-3) of resolution IV: with two seeds, main effects have 7 degrees of freedom."""
    rng, design = np.random.default_rng(1), designs.fraction(7, 16)
    hits, shares = [], []
    for _ in range(100):
        truth, effects = truth_of(design, (1, 2), rng)
        cells = factorial.collect(levels(design), table(truth, rng, seeds, moved(design, [0.04] * 7)))
        fit = factorial.fit(cells)
        for e in fit.effects:
            total = sum(effects[t] for t in (e.term, *e.aliases))
            hits.append(e.low <= total <= e.high)
        main = [effects[i,] for i in range(7)]
        if abs(sum(main)) > 1:
            found = [way.share for way in estimated_ways(cells, fit, {})]
            shares += covered(found, [m / sum(main) for m in main])
    assert [e.df for e in fit.effects] == pytest.approx([7 * (seeds - 1)] * 14)
    assert math.isnan(fit.predicted[1])  # the sum of an alias set may belong to another combination
    assert within({"effects": np.mean(hits)}, 100, 0.98), np.mean(hits)
    assert within({"shares": np.mean(shares)}, 100), np.mean(shares)


@pytest.mark.parametrize(("lost", "short"), [(2, 0), (0, 5), (1, 4)])
@pytest.mark.parametrize("deviation", [0, 0.1])
def test_intervals_cover_the_truth_where_recipes_or_seeds_are_missing(lost, short, deviation):
    """60 tables of 16 recipes, of which some diverged and some have the first of three seeds only."""
    rng, design = np.random.default_rng(2), designs.full(4)
    hits = []
    for _ in range(60):
        truth, effects = truth_of(design, (1, 2, 3), rng)
        fids = table(truth, rng, moved=moved(design, [deviation] * 4))
        order = rng.permutation(16).tolist()
        for row in order[:lost]:
            fids[row, 1][""][1] = math.inf
        for row in order[lost : lost + short]:
            fids[row, 1][""] = {0: fids[row, 1][""][0]}
        fit = factorial.fit(factorial.collect(levels(design), fids))
        hits += [e.low <= effects[e.term] <= e.high for e in fit.effects]
    assert within({"effects": np.mean(hits)}, 60), np.mean(hits)


@pytest.mark.parametrize("design", [designs.full(3), designs.fraction(5, 16), designs.fraction(7, 8)])
def test_the_error_is_how_effects_vary_over_seeds(design):
    """That of its order, by the textbook, or its own where an effect varies more."""
    rng, seeds = np.random.default_rng(3), 4
    fids = table(rng.normal(size=len(design)), rng, seeds, moved(design, [0.3, *[0] * (design.shape[1] - 1)]))
    fit = factorial.fit(factorial.collect(levels(design), fids))
    logs = np.log([[*fids[i, 1][""].values()] for i in range(len(design))])
    of = {e.term: 2 * (designs.column(design, e.term)[:, None] * logs).mean(0) for e in fit.effects}
    for order in (1, 2):
        own = {term: found.var(ddof=1) / seeds for term, found in of.items() if len(term) == order}
        for e in (e for e in fit.effects if e.term in own):
            assert e.error**2 == pytest.approx(max(own[e.term], np.mean([*own.values()])))
            assert e.df == pytest.approx(len(own) * (seeds - 1))
            assert e.value == pytest.approx(of[e.term].mean())
    assert fit.of((0,)).error > fit.of((1,)).error


@pytest.mark.parametrize("design", [designs.full(3), designs.fraction(6, 32), designs.fraction(7, 8)])
def test_one_seed_has_no_interval(design):
    """How effects vary over seeds is unknown, whatever the residual of the fit is."""
    rng = np.random.default_rng(2)
    truth, _ = truth_of(design, (1, 2), rng)
    fit = factorial.fit(factorial.collect(levels(design), table(truth, rng, 1)))
    assert all(math.isnan(e.low) and math.isnan(e.high) and (e.p, e.df) == (1.0, 0) for e in fit.effects)
    assert math.isnan(fit.predicted[1])
    assert fit.predicted[0] > 0


def exact(design, logs, seeds=1):
    return factorial.collect(
        levels(design), {(i, 1): {"": dict.fromkeys(range(seeds), math.exp(v))} for i, v in enumerate(logs)}
    )


def test_effects_are_the_textbooks():
    """Main effects are differences of means, an interaction half the difference of two effects."""
    a, b = designs.full(2).T
    fit = factorial.fit(exact(designs.full(2), 1 + 2 * (a > 0) - 3 * (b > 0) + 0.5 * (a > 0) * (b > 0)))
    assert [e.term for e in fit.effects] == [(0,), (1,), (0, 1)]
    assert [e.value for e in fit.effects] == pytest.approx([2.25, -2.75, 0.25])
    assert fit.best == (-1, 1)
    assert fit.predicted[0] == pytest.approx(math.exp(-2))


def test_what_the_rows_of_a_seed_share_widens_only_the_prediction():
    rng, design = np.random.default_rng(3), designs.full(3)
    truth, _ = truth_of(design, (1,), rng)
    steady = table(truth, rng, 3)
    shifted = {k: {"": {s: v * 10**s for s, v in by[""].items()}} for k, by in steady.items()}
    before, after = (factorial.fit(factorial.collect(levels(design), t)) for t in (steady, shifted))
    assert [e.error for e in after.effects] == pytest.approx([e.error for e in before.effects])
    assert [e.value for e in after.effects] == pytest.approx([e.value for e in before.effects])
    assert after.predicted[2] / after.predicted[1] > 100 * before.predicted[2] / before.predicted[1]


def test_higher_interactions_widen_no_interval_but_are_said():
    rng, design = np.random.default_rng(4), designs.full(3)
    logs = designs.column(design, (0, 1, 2)) * 1.0
    fit = factorial.fit(factorial.collect(levels(design), table(logs, rng)))
    assert max(e.high - e.low for e in fit.effects) < 0.5
    assert fit.explained < 0.1
    assert fit.predicted[2] > 5 * fit.predicted[0]  # a new cell is not predictable


@pytest.mark.parametrize("row", [0, 3, 7])
def test_a_diverged_recipe_is_in_no_fit(row):
    rng, design = np.random.default_rng(5), designs.full(3)
    truth, effects = truth_of(design, (1, 2), rng)
    fids = table(truth, rng)
    fids[row, 1][""][1] = math.inf
    cells = factorial.collect(levels(design), fids)
    fit = factorial.fit(cells)
    assert cells.diverged == {row: 1}
    assert (fit.rows, fit.cells, fit.rest) == (7, 21, 0)
    assert [e.value for e in fit.effects] == pytest.approx([effects[e.term] for e in fit.effects], abs=0.4)
    assert not ways(cells)


def test_interactions_of_three_axes_bias_no_effect_of_unequal_seeds_but_of_lost_rows():
    rng, design = np.random.default_rng(6), designs.full(4)
    high = designs.column(design, (0, 1, 2)) * 1.0
    fids = table(high, rng)
    for row in (1, 4, 6):
        fids[row, 1][""] = {0: fids[row, 1][""][0]}
    fit = factorial.fit(factorial.collect(levels(design), fids))
    assert all(abs(e.value) < 0.2 and e.low < 0 < e.high < 0.4 for e in fit.effects)
    for row in (2, 8):
        fids[row, 1][""][0] = math.inf
    fit = factorial.fit(factorial.collect(levels(design), fids))
    assert max(abs(e.value) for e in fit.effects) > 0.4
    assert all(e.low < 0 < e.high for e in fit.effects)


def test_seeds_that_no_two_rows_share_give_no_fit():
    design = designs.full(2)
    fids = {(i, 1): {"": {i: 2.0 + i}} for i in range(4)}
    assert factorial.fit(factorial.collect(levels(design), fids)) is None


def test_too_few_rows_give_no_fit():
    design = designs.full(3)
    assert factorial.fit(factorial.collect(levels(design), {})) is None
    part = {(i, 1): {"": {0: 2.0 + i}} for i in range(5)}
    cells = factorial.collect(levels(design), part)
    assert cells.missing == (5, 6, 7)
    assert factorial.fit(cells) is None


@pytest.mark.parametrize("axes", [2, 3, 5])
def test_shapley_values_are_the_mean_over_all_ladders(axes):
    rng, design = np.random.default_rng(axes), designs.full(axes)
    logs = rng.normal(size=2**axes)
    found, value = ways(exact(design, logs, 2)), values(design, logs)
    assert [way.shapley[0] for way in found] == pytest.approx(shapley(value, axes))
    assert sum(way.share[0] for way in found) == pytest.approx(1)
    one = [value[frozenset(range(i + 1))] - value[frozenset(range(i))] for i in range(axes)]
    assert [way.ladder for way in found] == pytest.approx(one)
    assert all(way.least <= way.shapley[0] <= way.most for way in found)


def test_a_fractions_ways_are_its_main_effects():
    rng, design = np.random.default_rng(7), designs.fraction(5, 16)
    truth, effects = truth_of(design, (1, 2), rng)
    whole = designs.full(5)
    logs = 3 + sum(v / 2 * designs.column(whole, t) for t, v in effects.items())
    cells = exact(design, truth, 2)
    assert not ways(cells)
    found = estimated_ways(cells, factorial.fit(cells), {"b": 0.3})
    assert [way.shapley[0] for way in found] == pytest.approx(shapley(values(whole, logs), 5))
    assert found[1].ladder == 0.3
    assert math.isnan(found[0].ladder)
