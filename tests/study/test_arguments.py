"""Arguments of samplers and pruners: their types are checked, because Optuna takes `no` for true and fails late."""

from __future__ import annotations

import pytest
from helpers.cli import call

FILE = "name: two\ntrials: 2\nsearch: {metric.c: {low: 0.01, high: 0.1}}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "sampler: {name: TPESampler, multivariate: no}",
            "sampler.multivariate: needs true or false, not 'no'",
        ),
        ("sampler: {name: TPESampler, n_startup_trials: x}", "needs a whole number, not 'x'"),
        ("sampler: {name: TPESampler, n_startup_trials: 2.5}", "needs a whole number, not 2.5"),
        ("sampler: {name: NSGAIISampler, mutation_prob: x}", "needs a number, not 'x'"),
        ("pruner: {name: MedianPruner, n_startup_trials: true}", "needs a whole number, not"),
        ("pruner: {name: PercentilePruner, percentile: [25]}", "pruner.percentile: needs a number, not [25]"),
        ("pruner: {name: HyperbandPruner, max_resource: [1]}", "needs text or a whole number"),
        ("sampler: [TPESampler]", "input should be a valid string, or keys with values"),
    ],
)
def test_a_wrong_type_is_one_line_at_planning(line, said, tmp_path):
    (tmp_path / "two.yaml").write_text(FILE + line + "\n")
    done = call("study", "two.yaml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2, done
    (error,) = done.stderr.splitlines()
    assert said in error


@pytest.mark.parametrize(
    "line",
    [
        "sampler: {name: TPESampler, multivariate: true, prior_weight: 1, n_startup_trials: 3}",
        "sampler: {name: NSGAIISampler, mutation_prob: null, population_size: 4}",
        "pruner: {name: HyperbandPruner, max_resource: auto, min_resource: 1}",
    ],
)
def test_right_types_are_taken(line, tmp_path):
    (tmp_path / "two.yaml").write_text(FILE + line + "\n")
    assert call("study", "two.yaml", "--dry-run", cwd=tmp_path).returncode == 0
