"""`tune` of a file, as far as it needs no Optuna."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import pytest

from ablate.planning import planner, trials, tuning
from ablate.planning.tune import Found, at_edge

LOG = {"low": 0.001, "high": 1.0, "log": True}
FILE = """
name: some
plan: [{ladder: {from: ct, to: ict}}, {grid: {optimizer.lr: [0.001, 0.01]}}, {list: [{label: other, base: ct}]}]
tune: {search: {optimizer.lr: {low: 0.0005, high: 0.05, log: true}}, trials: 2, images: 0.5}
"""


@pytest.mark.parametrize(
    ("value", "searched", "edge"),
    [
        (0.0012, LOG, True),
        (0.0016, LOG, False),
        (0.05, LOG, False),  # near the low end of the numbers, in the middle of their logarithms
        (0.9, LOG, True),
        (0.05, {"low": 0.0, "high": 1.0}, True),
        (0.06, {"low": 0, "high": 1}, False),
        (19, {"low": 0, "high": 20}, True),
        (4, [1, 2, 4], True),
        (2, [1, 2, 4], False),
        (1, [1, 2], False),  # of two values each is an end
        ("none", ["none", "adaptive", "fixed"], False),
    ],
)
def test_edges_are_within_5_percent_in_the_scale_of_the_search(value, searched, edge):
    assert at_edge(value, searched) == edge


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text(FILE)
    return path


def found(experiment, name, row, **params):
    """What came out of a made-up study of a row."""
    tried = {"number": 0, "state": "complete", "params": params, "value": 3.0, "keys": ["aaaabbbbcccc"]}
    tune, profile = experiment.tuning.tune, experiment.profile
    about = {"id": name, "row": row.label, "images": profile.images // 2, "trials": 2, "complete": True}
    return Found(**about, seeds=[100], search=tune.space, sampler="", pruner="", tried=[tried])


def recorded(experiment, folder, rates):
    """Files in a runs directory for the first studies."""
    (folder / "tuning").mkdir(parents=True)
    for rate, (name, row) in zip(rates, tuning.studies(experiment).items(), strict=False):
        text = json.dumps(found(experiment, name, row, **{"optimizer.lr": rate}).plain())
        (folder / "tuning" / f"{name}.json").write_text(text)


def test_rows_that_are_equal_share_a_study_and_every_study_has_its_own_cells(file):
    experiment = planner.load(file)
    studies = tuning.studies(experiment)
    distinct = {row.keys for row in experiment.rows}
    assert len(studies) == len(distinct) < len(experiment.rows)
    assert len(trials.outstanding(experiment)) == len({c.key for c in trials.outstanding(experiment)})
    assert {c.profile.images for c in trials.outstanding(experiment)} == {5600, 11200}


@pytest.mark.parametrize("change", [{"tune.trials": 3}, {"tune.seeds": [7]}, {"tune.images": 0.25}])
def test_what_decides_the_trials_decides_the_id(file, change):
    before, after = planner.load(file), planner.load(file, overrides=change)
    assert not {*tuning.studies(before)} & {*tuning.studies(after)}
    assert [r.keys for r in before.rows] == [r.keys for r in after.rows]
    assert {*tuning.studies(planner.load(file, seeds=[5, 6]))} == {*tuning.studies(before)}


def test_a_tuned_ladder_is_a_ladder_and_its_rows_change_what_they_changed(file, tmp_path):
    experiment = planner.load(file)
    recorded(experiment, tmp_path / "runs", [0.001 * (i + 1) for i in range(9)])
    plain, made = experiment.rows, tuning.known(experiment, tmp_path / "runs").rows
    assert made[: len(plain)] == plain
    ladder = [row for row in made if row.tuned and row.section == "ladder"]
    assert ladder[0].label == ladder[0].base == "ct (tuned)"
    assert not ladder[0].changed
    for before, row in itertools.pairwise(ladder):
        assert row.base == before.label
        assert "optimizer.lr" in row.changed
    assert all(set(row.changed) <= set(row.recipe.flat()) for row in made)
    assert tuning.known(tuning.known(experiment, tmp_path / "runs"), tmp_path / "runs").rows == made


def test_a_file_that_is_cut_off_or_of_another_row_is_not_read(file, tmp_path):
    experiment = planner.load(file)
    recorded(experiment, tmp_path / "runs", [0.001] * 3)
    first, second, third = [*tuning.studies(experiment)][:3]
    folder = tmp_path / "runs" / "tuning"
    (folder / f"{first}.json").write_text((folder / f"{first}.json").read_text()[:-40])
    (folder / f"{second}.json").write_text((folder / f"{third}.json").read_text())
    assert {*tuning.known(experiment, tmp_path / "runs").tuning.found} == {third}


def test_tuned_rows_are_planned_without_optuna_and_torch(file, tmp_path):
    recorded(planner.load(file), tmp_path / "runs", [0.001] * 3)
    code = (
        "import sys; from pathlib import Path; from ablate.planning import planner\n"
        f"e = planner.load({str(file)!r}, runs=Path({str(tmp_path / 'runs')!r}))\n"
        "assert any(row.tuned for row in e.rows); assert not {'optuna', 'torch'} & {*sys.modules}"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
