"""Laws, trends and predictions over budgets, against made-up truths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ablate.statistics import scaling
from ablate.statistics.scaling import Point, effects, law, predict

TRUTHS = ("constant", "straight", "laws")


def truth(kind, rng, doublings):
    """A true effect at every budget; of `laws`, that of two rows whose FID falls to floors of their own."""
    if kind == "constant":
        return np.full_like(doublings, rng.normal(0, 0.4))
    if kind == "straight":
        return rng.normal(0, 0.4) + rng.normal(0, 0.15) * doublings

    def log_fid():
        floor, exponent = rng.uniform(0, 0.7), rng.uniform(0.3, 1.0)
        return rng.normal(0, 0.3) + np.log(floor + (1 - floor) * 2.0 ** (-exponent * doublings))

    return log_fid() - log_fid()


def drawn(rng, effect, budgets, seeds, spreads):
    sides = [rng.normal(0, spread, (len(budgets), seeds)) for spread in spreads]
    return [Point(n, (effect[i] + sides[0][i]).tolist(), sides[1][i].tolist()) for i, n in enumerate(budgets)]


def covered(kind, budgets, seeds, draws, bent=scaling.BENT):
    """How often the intervals of the last budget hold the true effect, and what the seeds show of it."""
    rng, x, found = np.random.default_rng(0), np.log2(np.asarray(budgets)), []
    for _ in range(draws):
        effect = truth(kind, rng, x)
        points = drawn(rng, effect, budgets, seeds, np.exp(rng.uniform(np.log(0.04), np.log(0.15), 2)))
        p = predict(points[:-1], budgets[-1], seeds, bent)
        shown = np.mean(points[-1].row) - np.mean(points[-1].base)
        found.append((p.low <= effect[-1] <= p.high, p.seen_low <= shown <= p.seen_high))
    return np.mean(found, axis=0)


@pytest.mark.parametrize(
    ("budgets", "seeds"), [((0.5, 1, 2, 4), 2), ((1, 2, 4, 8), 3), ((1, 2, 4), 3), ((1, 2, 4, 8), 4)]
)
def test_predicted_effects_cover_the_truth(budgets, seeds):
    by_kind = [covered(kind, budgets, seeds, 600) for kind in TRUTHS]
    assert ((np.mean(by_kind, axis=0) >= 0.93) & (np.mean(by_kind, axis=0) <= 0.97)).all()
    assert (np.min(by_kind, axis=0) >= 0.92).all()  # of each kind of truth alone


def test_without_a_bend_curved_truths_escape():
    assert covered("laws", (1, 2, 4, 8, 16), 4, 400, bent=0.0)[0] < 0.85


@pytest.mark.parametrize("budgets", [(1, 2), (0.5, 1, 4), (1, 2, 4, 8)])
def test_without_a_bend_a_prediction_is_weighted_least_squares(budgets):
    rng = np.random.default_rng(1)
    points = drawn(rng, np.linspace(0.1, 0.4, len(budgets)), budgets, 3, (0.05, 0.08))
    values = [np.mean(p.row) - np.mean(p.base) for p in points]
    line = np.polyfit(np.log2(budgets), values, 1)
    assert predict(points, 16, 3, bent=0.0).value == pytest.approx(np.polyval(line, 4.0))


def test_further_away_is_less_certain_and_seeds_more_so_than_the_truth():
    points = drawn(np.random.default_rng(2), np.array([0.1, 0.2, 0.3]), (1, 2, 4), 3, (0.05, 0.05))
    near, far = predict(points, 8, 3), predict(points, 16, 3)
    assert far.high - far.low > near.high - near.low
    assert near.seen_low < near.low < near.value < near.high < near.seen_high


@pytest.mark.parametrize("points", [[], [Point(1, [0.1, 0.2], [0.3, 0.1])]])
def test_nothing_is_said_from_one_budget(points):
    assert predict(points, 8, 2) is None
    assert effects(points) is None


def test_single_seeds_predict_nothing():
    assert predict([Point(n, [0.1], [0.2]) for n in (1, 2)], 8, 2) is None


THREE = [-0.01, 0.01, 0.0]


@pytest.mark.parametrize(
    "seeds",  # of the row, and of its base, at each budget
    [((3, 3), (3, 3), (1, 3)), ((3, 3), (1, 1), (3, 3)), ((1, 3), (3, 3), (3, 3)), ((1, 1), (1, 1), (1, 1)),
     ((3, 3), (3, 3), (3, 1))],
)  # fmt: skip
@pytest.mark.parametrize("effect", [(-0.1, -0.3, -0.5), (0.3, 0.0, -0.3), (0.4, 0.4, 0.4)])
def test_a_budget_with_one_seed_leaves_the_trend_open(effect, seeds):
    points = [
        Point(2**i, [e + v for v in THREE[-n:]], THREE[-m:])
        for i, (e, (n, m)) in enumerate(zip(effect, seeds, strict=True))
    ]
    found = effects(points)
    assert found.trend.p == 1
    assert math.isnan(found.trend.low)
    assert found.word(0.0) == found.word(found.trend.p) == "open"
    assert [math.isnan(one.low) for one in found.values] == [1 in both for both in seeds]


@pytest.mark.parametrize(
    ("effect", "word"),
    [
        ((-0.1, -0.3, -0.5), "grows"),
        ((0.0, 0.15, 0.3), "grows"),
        ((-0.5, -0.4, -0.3), "shrinks"),
        ((0.4, 0.2, 0.0), "vanishes"),
        ((0.3, 0.0, -0.3), "turns"),
        ((-0.4, -0.4, -0.4), "stays"),
        ((0.0, 0.0, 0.0), "open"),
    ],
)
def test_words(effect, word):
    exact = [Point(2**i, [e - 0.01, e + 0.01, e], [-0.01, 0.01, 0.0]) for i, e in enumerate(effect)]
    found = effects(exact)
    assert found.word(found.trend.p) == word
    noisy = [Point(p.images, [50 * v for v in (-1, 1, 0)], [50.0, -50.0, 0.0]) for p in exact]
    assert effects(noisy).word(effects(noisy).trend.p) == "open"


@pytest.mark.parametrize(("budgets", "seeds"), [((1, 2, 4, 8), 2), ((1, 2, 4), 3), ((1, 2, 4, 8), 4)])
def test_the_trend_test_keeps_its_level_though_spreads_differ(budgets, seeds):
    rng, found = np.random.default_rng(3), []
    for _ in range(1000):
        spreads = np.exp(rng.uniform(np.log(0.04), np.log(0.15), 2))
        points = drawn(rng, np.full(len(budgets), 0.2), budgets, seeds, spreads)
        found.append(effects(points).trend.p <= 0.05)
    assert 0.01 <= np.mean(found) <= 0.065


def test_intervals_of_effects_and_trends_cover_the_truth():
    rng, found = np.random.default_rng(4), []
    for _ in range(600):
        trend = effects(drawn(rng, np.array([0.1, 0.2, 0.3]), (1, 2, 4), 3, (0.05, 0.1)))
        last = trend.values[2]
        found.append([one.low <= math.exp(e) <= one.high for one, e in ((last, 0.3), (trend.trend, 0.1))])
    assert (np.abs(np.mean(found, axis=0) - 0.96) <= 0.025).all()


def test_the_floor_of_a_budget_widens_effect_and_trend():
    points = [Point(2**i, [0.1 * i, 0.1 * i + 0.001], [0.0, 0.001]) for i in range(3)]
    plain, floored = effects(points), effects([p._replace(floor=0.01) for p in points])
    assert plain.word(plain.trend.p) == "grows"
    assert floored.word(floored.trend.p) == "open"
    assert all(
        b.high - b.low > 5 * (a.high - a.low) for a, b in zip(plain.values, floored.values, strict=True)
    )


def cells(fid, budgets, seeds, spread, rng):
    pairs = [(n, fid(n) * math.exp(rng.normal(0, spread))) for n in budgets for _ in range(seeds)]
    return zip(*pairs, strict=True)


def test_a_power_law_is_found_with_its_interval():
    rng, hits = np.random.default_rng(5), []
    for _ in range(300):
        found = law(*cells(lambda n: 40 * n**-0.5, (1, 2, 4), 3, 0.05, rng))
        low, high = found.interval()
        value, below, above = found.at(8)
        hits.append((low <= 0.5 <= high, below <= 40 * 8**-0.5 <= above))
        assert not found.floor
        assert below < value < above
    assert (np.abs(np.mean(hits, axis=0) - 0.95) <= 0.03).all()


def test_a_floor_is_found_from_four_budgets_on_and_not_where_there_is_none():
    def fid(n):
        return 10 + 40 * n**-1.0

    rng = np.random.default_rng(6)
    found = law(*cells(fid, (0.5, 1, 2, 4, 8), 4, 0.02, rng))
    assert found.floor == pytest.approx(10, rel=0.2)
    assert found.exponent == pytest.approx(1.0, abs=0.2)
    _, low, high = found.at(16)
    assert low <= fid(16) <= high
    assert not law(*cells(fid, (1, 2, 4), 4, 0.02, rng)).floor
    plain = [law(*cells(lambda n: 40 * n**-0.5, (1, 2, 4, 8), 3, 0.05, rng)).floor for _ in range(40)]
    assert np.mean(np.asarray(plain) > 0) < 0.15


@pytest.mark.parametrize(
    ("images", "fids"), [([1, 1], [3, 4]), ([1, 2], [3, math.inf]), ([1, 2], [0, 3]), ([], [])]
)
def test_no_law(images, fids):
    assert law(images, fids) is None


def test_two_runs_have_a_law_without_an_interval():
    found = law([1, 4], [10, 5])
    assert found.exponent == pytest.approx(0.5)
    assert math.isnan(found.interval()[0])
    assert found.at(4)[0] == pytest.approx(5)
