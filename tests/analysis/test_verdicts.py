"""Verdicts keep their promise on tables whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ablate.analysis import verdicts
from ablate.planning import claims as kinds
from ablate.planning.planner import load

ROWS = 8

PLAN = "name: made\nplan:\n  - grid: {metric.c: [%s]}\n"
C = [round(0.001 * 2**i, 4) for i in range(ROWS)]


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    file = tmp_path_factory.mktemp("verdicts") / "made.yaml"
    file.write_text(PLAN % ", ".join(map(str, C)))
    experiment = load(file)
    experiment.base = experiment.rows[0].recipe.flat()
    return experiment


def claim(**fields):
    return kinds.read({"id": "x", "says": "s", **fields}, "claims[0]")


def comparison(i, j, **more):
    return claim(better={"metric.c": C[i]}, worse={"metric.c": C[j]}, **more)


def simulated(rng, means, seeds):
    """FIDs of rows whose noise is lognormal, of unequal size, and shared in part by the seed."""
    shared = 0.2 * rng.standard_normal(seeds)
    spread = 0.05 + 0.3 * rng.random(len(means))
    noise = shared + spread[:, None] * rng.standard_normal((len(means), seeds))
    fids = np.exp(np.log(means)[:, None] + noise)
    return {(i, 1): {"": dict(enumerate(map(float, row)))} for i, row in enumerate(fids)}


def states(planned, claims, table, analyses=1):
    planned.claims, planned.analyses = claims, analyses
    return [v.state for v in verdicts.answers(planned, table)]


def test_false_answers_stay_below_five_percent_over_a_thousand_tables(planned):
    rng, claims, false = np.random.default_rng(0), [comparison(0, i) for i in range(1, ROWS)], 0
    for _ in range(1000):
        table = simulated(rng, np.full(ROWS, 20.0), 3)
        false += any(state != verdicts.UNDECIDED for state in states(planned, claims, table))
    assert false <= 0.05 * 1000 + 2 * math.sqrt(0.05 * 0.95 * 1000)  # two deviations of the simulation itself


def test_false_answers_stay_rare_where_others_are_true_and_seeds_are_added(planned):
    rng, claims, false = np.random.default_rng(1), [comparison(0, i) for i in range(1, 5)], 0
    means = np.array([20.0, 20.0, 20.0, 200.0, 200.0, 20.0, 20.0, 20.0])
    for _ in range(200):
        table, open_claims = simulated(rng, means, 6), True
        for n in range(2, 7):  # five analyses
            seen = {k: {"": {s: v for s, v in row[""].items() if s < n}} for k, row in table.items()}
            found = states(planned, claims, seen, analyses=5)
            if found[0] != verdicts.UNDECIDED or found[1] != verdicts.UNDECIDED:
                open_claims = False
                break
        false += not open_claims
    assert false <= 0.05 * 200 + 2 * math.sqrt(0.05 * 0.95 * 200)


def test_power_grows_with_seeds(planned):
    rng, found = np.random.default_rng(2), []
    for seeds in (2, 3, 5, 8):
        tables = [simulated(rng, np.array([20.0] + [30.0] * (ROWS - 1)), seeds) for _ in range(100)]
        found.append(
            sum(states(planned, [comparison(0, 1)], t)[0] == verdicts.SUPPORTED for t in tables) / 100
        )
    assert found == sorted(found)
    assert found[0] < 0.5 < found[-1]


def test_a_ratio_must_be_surpassed(planned):
    table = simulated(np.random.default_rng(3), np.array([20.0, 100.0, *[20.0] * 6]), 12)
    claims = [comparison(0, 1, ratio=2.0), comparison(0, 1, ratio=9.0), comparison(1, 0)]
    assert states(planned, claims, table) == [
        verdicts.SUPPORTED,
        verdicts.CONTRADICTED,
        verdicts.CONTRADICTED,
    ]


def valley(means, seeds=8, inside=(C[2], C[4])):
    table = simulated(np.random.default_rng(4), np.array(means), seeds)
    return claim(valley="metric.c", inside=list(inside)), table


def test_a_valley_needs_worse_values_on_both_sides(planned):
    about, table = valley([200.0, 150.0, 40.0, 10.0, 40.0, 150.0, 200.0, 200.0])
    assert states(planned, [about], table) == [verdicts.SUPPORTED]
    about, table = valley([1.0, 150.0, 40.0, 10.0, 40.0, 150.0, 200.0, 200.0])
    assert states(planned, [about], table) == [verdicts.CONTRADICTED]
    about, table = valley([10.0, 40.0, 100.0, 150.0, 200.0, 200.0, 200.0, 200.0], inside=(C[0], C[1]))
    planned.claims = [about]
    (found,) = verdicts.answers(planned, table)
    assert found.state == verdicts.UNDECIDED
    assert "no value on the lower side" in found.because


def test_more_is_better_only_without_a_sure_step_up(planned):
    rising = claim(monotone="metric.c")
    falling = np.array([100.0, 60.0, 40.0, 25.0, 16.0, 10.0, 6.0, 4.0])
    table = simulated(np.random.default_rng(5), falling, 4)
    assert states(planned, [rising], table) == [verdicts.SUPPORTED]
    assert states(planned, [rising], simulated(np.random.default_rng(5), falling[::-1], 4)) == [
        verdicts.CONTRADICTED
    ]
    bump = np.array([100.0, 60.0, 40.0, 25.0, 400.0, 10.0, 6.0, 4.0])
    assert states(planned, [rising], simulated(np.random.default_rng(5), bump, 8)) == [verdicts.UNDECIDED]


def test_one_seed_and_no_seed_decide_nothing(planned):
    table = simulated(np.random.default_rng(6), np.array([1.0] + [1e6] * 7), 1)
    claims = [comparison(0, 1), claim(valley="metric.c", inside=[C[2], C[4]])]
    claims.append(claim(monotone="metric.c"))
    assert set(states(planned, claims, table)) == {verdicts.UNDECIDED}
    assert set(states(planned, claims, {})) == {verdicts.UNTESTED}


def spreading(*deviations, seeds=8):
    """Rows of one mean whose log FIDs have these standard deviations over seeds, exactly."""
    rng, table = np.random.default_rng(7), {}
    for i, deviation in enumerate(deviations):
        z = rng.standard_normal(seeds)
        logs = 3 + deviation * (z - z.mean()) / z.std(ddof=1)
        table[i, 1] = {"": dict(enumerate(np.exp(logs).tolist()))}
    return table


def test_steadier_is_supported_contradicted_or_open(planned):
    first, second = {"metric.c": C[0]}, {"metric.c": C[1]}
    claims = [claim(steadier=first, than=second), claim(steadier=second, than=first)]
    assert states(planned, claims, spreading(0.05, 0.5)) == [verdicts.SUPPORTED, verdicts.CONTRADICTED]
    assert states(planned, claims, spreading(0.1, 0.12)) == [verdicts.UNDECIDED] * 2
    assert states(planned, claims, spreading(0.05, 0.5, seeds=2)) == [verdicts.UNDECIDED] * 2


def test_steadier_is_open_without_two_finite_values_and_not_run_without_any(planned):
    asked = [claim(steadier={"metric.c": C[0]}, than={"metric.c": C[1]})]
    lost = {(0, 1): {"": {0: 9.0, 1: math.inf}}, (1, 1): {"": {0: 9.0, 1: 10.0}}}
    assert states(planned, asked, lost) == [verdicts.UNDECIDED]
    assert states(planned, asked, {}) == [verdicts.UNTESTED]


def test_a_row_on_both_sides_of_a_comparison_is_no_mistake(planned):
    """In a grid of two fields one row has the better value of one and the worse value of the other."""
    table = {(i, 1): {"": {0: 9.0 + i, 1: 10.0 + i, 2: 11.0}} for i in range(3)}
    table[2, 1][""][1] = math.inf
    found = verdicts.compare(
        [(verdicts.Sample(0, 1), verdicts.Sample(1, 1)), (verdicts.Sample(1, 1), verdicts.Sample(2, 1))],
        table,
    )
    assert found.lost == 1
    assert 0 < found.p <= 1
