"""Steps of a search space are decimals, as the file has them."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ablate.planning import planner
from ablate.study import plan as studies
from ablate.study import space


@pytest.mark.parametrize(
    ("low", "high", "step", "values"),
    [
        (0.1, 0.5, 0.1, [0.1, 0.2, 0.3, 0.4, 0.5]),
        (-0.3, 0.3, 0.1, [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3]),
        (0.0, 0.9, 0.3, [0.0, 0.3, 0.6, 0.9]),
        (1e-5, 4e-5, 1e-5, [1e-5, 2e-5, 3e-5, 4e-5]),
    ],
)
def test_steps_are_decimals(low, high, step, values):
    found = {"x": FloatDistribution(low, high, step=step)}
    computed = [low + i * step for i in range(len(values))]
    assert computed != values  # binary fractions add up to 0.30000000000000004
    assert [space.decimal({"x": value}, found)["x"] for value in computed] == values


@pytest.mark.parametrize(
    ("distribution", "value"),
    [
        (FloatDistribution(0.0, 1.0), 0.1 + 0.2),
        (FloatDistribution(0.1, 0.5, step=0.1), 0.25),  # of a trial whose steps were others
        (CategoricalDistribution([0.1 + 0.2, 0.5]), 0.1 + 0.2),
        (IntDistribution(1, 9, step=2), 3),
    ],
)
def test_other_values_stay(distribution, value):
    assert space.decimal({"x": value, "y": "a"}, {"x": distribution}) == {"x": value, "y": "a"}


def test_a_trial_is_the_cell_of_the_same_row_in_a_file(tmp_path):
    (tmp_path / "study.yaml").write_text("name: s\nsearch: {metric.c: {low: 0.1, high: 0.5, step: 0.1}}\n")
    (tmp_path / "file.yaml").write_text("name: f\nplan: [{grid: {metric.c: [0.3]}}]\n")
    trial, _ = studies.load(tmp_path / "study.yaml").row("trial 1", {"metric.c": 0.1 + 2 * 0.1})
    assert trial.changed["metric.c"] == 0.3
    assert trial.keys == planner.load(tmp_path / "file.yaml").rows[0].keys
