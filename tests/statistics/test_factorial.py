"""Effects of factorials: on 500 simulated tables intervals cover the truth, and what is lost is not estimated."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ablate.statistics import designs, factorial
from ablate.statistics.ways import estimated_ways, ways

AXES = "abcdef"
CELL, SEED = 0.1, 0.2  # standard deviation of a cell, and of what the rows of a seed share


def levels(design):
    return {i: dict(zip(AXES, run, strict=False)) for i, run in enumerate(design.tolist())}


def table(truth, rng, seeds=3):
    """FIDs of every row: its true log FID, something that the rows of a seed share, and the cell's own noise."""
    shared = rng.normal(0, SEED, seeds)
    logs = truth[:, None] + shared + rng.normal(0, CELL, (len(truth), seeds))
    return {(i, 1): {"": dict(enumerate(np.exp(row).tolist()))} for i, row in enumerate(logs)}


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


def test_intervals_of_full_factorials_cover_the_truth():
    """500 tables of 16 recipes and three seeds, with interactions of all orders: 95 % intervals in 93 to 97 %."""
    rng, design = np.random.default_rng(0), designs.full(4)
    hits = {"main": [], "pairs": [], "shapley": [], "share": []}
    for _ in range(500):
        truth, effects = truth_of(design, (1, 2, 3, 4), rng)
        cells = factorial.collect(levels(design), table(truth, rng))
        fit = factorial.fit(cells)
        assert fit.pure
        for e in fit.effects:
            hits["main" if len(e.term) == 1 else "pairs"].append(e.low <= effects[e.term] <= e.high)
        found, true = ways(cells), shapley(values(design, truth), 4)
        hits["shapley"] += covered([way.shapley for way in found], true)
        if abs(sum(true)) > 1:  # a share of a way that leads nowhere has no meaning
            hits["share"] += covered([way.share for way in found], [t / sum(true) for t in true])
    rates = {name: np.mean(found) for name, found in hits.items()}
    assert all(0.93 <= rate <= 0.97 for rate in rates.values()), rates


def test_intervals_of_fractions_cover_the_sum_of_aliased_effects():
    """500 tables of a 2^(6-2) with two seeds."""
    rng, design = np.random.default_rng(1), designs.fraction(6, 16)
    hits, shares = [], []
    for _ in range(500):
        truth, effects = truth_of(design, (1, 2), rng)
        cells = factorial.collect(levels(design), table(truth, rng, 2))
        fit = factorial.fit(cells)
        for e in fit.effects:
            total = sum(effects[t] for t in (e.term, *e.aliases))
            hits.append(e.low <= total <= e.high)
        main = [effects[i,] for i in range(6)]
        if abs(sum(main)) > 1:
            found = [way.share for way in estimated_ways(cells, fit, {})]
            shares += covered(found, [m / sum(main) for m in main])
    assert len(fit.effects) == 6 + 7
    assert 0.93 <= np.mean(hits) <= 0.97, np.mean(hits)
    assert 0.93 <= np.mean(shares) <= 0.97, np.mean(shares)


def test_intervals_from_one_seed_come_from_the_residual():
    """500 tables of a 2^(6-1) with one seed and no interaction of three axes: 10 degrees of freedom are left."""
    rng, design = np.random.default_rng(2), designs.fraction(6, 32)
    hits = []
    for _ in range(500):
        truth, effects = truth_of(design, (1, 2), rng)
        fit = factorial.fit(factorial.collect(levels(design), table(truth, rng, 1)))
        hits += [e.low <= effects[e.term] <= e.high for e in fit.effects]
    assert (fit.pure, fit.df) == (False, 10)
    assert 0.93 <= np.mean(hits) <= 0.97, np.mean(hits)


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


def test_seeds_as_blocks_take_out_what_rows_share():
    rng, design = np.random.default_rng(3), designs.full(3)
    truth, _ = truth_of(design, (1,), rng)
    steady = table(truth, rng, 3)
    shifted = {k: {"": {s: v * 10**s for s, v in by[""].items()}} for k, by in steady.items()}
    before, after = (factorial.fit(factorial.collect(levels(design), t)) for t in (steady, shifted))
    assert after.error == pytest.approx(before.error)
    assert [e.value for e in after.effects] == pytest.approx([e.value for e in before.effects])
    assert after.df == 8 * 2 - 2


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
    assert (fit.rows, fit.cells, fit.pure) == (7, 21, False)
    assert [e.value for e in fit.effects] == pytest.approx([effects[e.term] for e in fit.effects], abs=0.4)
    assert not ways(cells)


def test_rows_with_unequal_seeds_are_judged_by_the_residual():
    """Then interactions of three axes bias effects, and the spread over seeds would hide it."""
    rng, design = np.random.default_rng(6), designs.full(3)
    fids = table(designs.column(design, (0, 1, 2)) * 1.0, rng)
    for row in (1, 4, 6):
        fids[row, 1][""] = {0: fids[row, 1][""][0]}
    fit = factorial.fit(factorial.collect(levels(design), fids))
    assert not fit.pure
    assert all(e.low < 0 < e.high for e in fit.effects)


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
