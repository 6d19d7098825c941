"""Verdicts keep their promise on tables whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ablate.analysis import statistics, verdicts
from ablate.planning.claims import Claim
from ablate.planning.planner import load

ROWS = 8


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch):
    """statsmodels collects garbage at every correction, which takes most of the time of a thousand tables."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)


PLAN = "name: made\nplan:\n  - grid: {metric.c: [%s]}\n"
C = [round(0.001 * 2**i, 4) for i in range(ROWS)]


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    file = tmp_path_factory.mktemp("verdicts") / "made.yaml"
    file.write_text(PLAN % ", ".join(map(str, C)))
    experiment = load(file)
    experiment.base = experiment.rows[0].recipe.flat()
    return experiment


def duel(i, j, **more):
    return Claim(id=f"{i}<{j}", says="s", better={"metric.c": C[i]}, worse={"metric.c": C[j]}, **more)


def simulated(rng, means, seeds):
    """FIDs of rows whose noise is lognormal, of unequal size, and shared in part by the seed."""
    shared = 0.2 * rng.standard_normal(seeds)
    spread = 0.05 + 0.3 * rng.random(len(means))
    noise = shared + spread[:, None] * rng.standard_normal((len(means), seeds))
    fids = np.exp(np.log(means)[:, None] + noise)
    return {(i, 1): {"": dict(enumerate(map(float, row)))} for i, row in enumerate(fids)}


def states(planned, claims, table, looks=1):
    planned.claims, planned.looks = claims, looks
    return [v.state for v in verdicts.answers(planned, table)]


def test_false_answers_stay_below_five_percent_over_a_thousand_tables(planned):
    rng, claims, false = np.random.default_rng(0), [duel(0, i) for i in range(1, ROWS)], 0
    for _ in range(1000):
        table = simulated(rng, np.full(ROWS, 20.0), 3)
        false += any(state != verdicts.UNDECIDED for state in states(planned, claims, table))
    assert false <= 0.05 * 1000 + 2 * math.sqrt(0.05 * 0.95 * 1000)  # two deviations of the simulation itself


def test_false_answers_stay_rare_where_others_are_true_and_seeds_are_added(planned):
    rng, claims, false = np.random.default_rng(1), [duel(0, i) for i in range(1, 5)], 0
    means = np.array([20.0, 20.0, 20.0, 200.0, 200.0, 20.0, 20.0, 20.0])
    for _ in range(200):
        table, open_claims = simulated(rng, means, 6), True
        for n in range(2, 7):  # five looks
            seen = {k: {"": {s: v for s, v in row[""].items() if s < n}} for k, row in table.items()}
            found = states(planned, claims, seen, looks=5)
            if found[0] != verdicts.UNDECIDED or found[1] != verdicts.UNDECIDED:
                open_claims = False
                break
        false += not open_claims
    assert false <= 0.05 * 200 + 2 * math.sqrt(0.05 * 0.95 * 200)


def test_power_grows_with_seeds(planned):
    rng, found = np.random.default_rng(2), []
    for seeds in (2, 3, 5, 8):
        tables = [simulated(rng, np.array([20.0] + [30.0] * (ROWS - 1)), seeds) for _ in range(100)]
        found.append(sum(states(planned, [duel(0, 1)], t)[0] == verdicts.SUPPORTED for t in tables) / 100)
    assert found == sorted(found)
    assert found[0] < 0.5 < found[-1]


def test_a_ratio_must_be_surpassed(planned):
    table = simulated(np.random.default_rng(3), np.array([20.0, 100.0, *[20.0] * 6]), 12)
    claims = [duel(0, 1, ratio=2.0), duel(0, 1, ratio=9.0), duel(1, 0)]
    assert states(planned, claims, table) == [
        verdicts.SUPPORTED,
        verdicts.CONTRADICTED,
        verdicts.CONTRADICTED,
    ]


def valley(means, seeds=8, inside=(C[2], C[4])):
    table = simulated(np.random.default_rng(4), np.array(means), seeds)
    return Claim(id="v", says="s", valley="metric.c", inside=list(inside)), table


def test_a_valley_needs_worse_values_on_both_sides(planned):
    claim, table = valley([200.0, 150.0, 40.0, 10.0, 40.0, 150.0, 200.0, 200.0])
    assert states(planned, [claim], table) == [verdicts.SUPPORTED]
    claim, table = valley([1.0, 150.0, 40.0, 10.0, 40.0, 150.0, 200.0, 200.0])
    assert states(planned, [claim], table) == [verdicts.CONTRADICTED]
    claim, table = valley([10.0, 40.0, 100.0, 150.0, 200.0, 200.0, 200.0, 200.0], inside=(C[0], C[1]))
    planned.claims = [claim]
    (found,) = verdicts.answers(planned, table)
    assert found.state == verdicts.UNDECIDED
    assert "no value on the lower side" in found.because


def test_more_is_better_only_without_a_sure_step_up(planned):
    claim = Claim(id="m", says="s", monotone="metric.c")
    falling = np.array([100.0, 60.0, 40.0, 25.0, 16.0, 10.0, 6.0, 4.0])
    table = simulated(np.random.default_rng(5), falling, 4)
    assert states(planned, [claim], table) == [verdicts.SUPPORTED]
    assert states(planned, [claim], simulated(np.random.default_rng(5), falling[::-1], 4)) == [
        verdicts.CONTRADICTED
    ]
    bump = np.array([100.0, 60.0, 40.0, 25.0, 400.0, 10.0, 6.0, 4.0])
    assert states(planned, [claim], simulated(np.random.default_rng(5), bump, 8)) == [verdicts.UNDECIDED]


def test_one_seed_and_no_seed_decide_nothing(planned):
    table = simulated(np.random.default_rng(6), np.array([1.0] + [1e6] * 7), 1)
    claims = [duel(0, 1), Claim(id="v", says="s", valley="metric.c", inside=[C[2], C[4]])]
    claims.append(Claim(id="m", says="s", monotone="metric.c"))
    assert set(states(planned, claims, table)) == {verdicts.UNDECIDED}
    assert set(states(planned, claims, {})) == {verdicts.UNDECIDED}


def test_divergence_loses_by_signs():
    fine, lost = dict.fromkeys(range(7), 20.0), dict.fromkeys(range(7), math.inf)
    found = statistics.paired([(fine, lost)])
    assert (found.lost, found.n) == (7, 7)
    assert found.less == pytest.approx(0.5**7)
    assert statistics.paired([(lost, lost)]).p == 1.0


def test_a_difference_is_that_of_the_logarithms():
    a, b = {0: 10.0, 1: 20.0, 2: 40.0}, {0: 20.0, 1: 50.0, 2: 70.0}
    found = statistics.paired([(a, b)])
    logs = np.log([0.5, 0.4, 4 / 7])
    reach = (
        4.302652729749464 * logs.std(ddof=1) / math.sqrt(3)
    )  # Student's t at 97.5 %, two degrees of freedom
    assert found.ratio == pytest.approx(math.exp(logs.mean()))
    assert (found.low, found.high) == pytest.approx(
        (math.exp(logs.mean() - reach), math.exp(logs.mean() + reach))
    )
    assert found.difference == pytest.approx(-70 / 3)


def test_holm_is_holm():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([]) == []


def test_seeds_needed_reach_the_power():
    from scipy import stats

    n, size = statistics.seeds_needed(0.5, 0.4, tests=5), 0.5 / 0.4
    assert n is not None
    draws = np.random.default_rng(7).standard_normal((4000, n)) + size
    assert (stats.ttest_1samp(draws, 0.0, axis=1).pvalue <= 0.01).mean() >= 0.78
    assert statistics.seeds_needed(0.001, 1.0, tests=5) is None
