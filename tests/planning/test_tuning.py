"""`tune` of a file, as far as it needs no Optuna."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys

import pytest
from helpers.recorded import put

from ablate.analysis.lines import groups, title
from ablate.analysis.results import Results
from ablate.planning import planner, points, trials, tuning
from ablate.planning.factorial import factorials
from ablate.planning.tune import Found, at_edge, last_tried
from ablate.report.page import page
from ablate.runs.store import Store

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


@pytest.mark.parametrize(
    ("value", "tried", "last"),
    [
        (0.008, [0.002, 0.008, 0.004], True),
        (0.002, [0.002, 0.008, 0.004], True),
        (0.004, [0.002, 0.008, 0.004], False),
        (0.008, [0.002, 0.008, 0.008], False),  # of two values each is an end
        ("none", ["none", "adaptive", "fixed"], False),
        (True, [True, False, True], False),
    ],
)
def test_a_best_value_with_no_trial_beyond_it_is_the_last_tried(value, tried, last):
    assert last_tried(value, tried) == last


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


SHARED = """
name: shared
seeds: [0, 1]
plan:
  - ladder: {from: ct, to: ict, order: [metric, teacher]}
  - leave_one_out: {from: ict, to: ct}
  - factorial: {from: ct, to: ict, axes: [metric, teacher, noise], resolution: full}
tune: {search: {optimizer.lr: {low: 0.0005, high: 0.05, log: true}}, trials: 2}
claims:
  - {id: I, says: "they interact", interaction: [metric, teacher], tuned: true}
  - {id: J, says: "they interact, untuned", interaction: [metric, teacher]}
"""


def all_tuned(path, folder):
    """The experiment of a file with made-up studies of all its rows."""
    experiment = planner.load(path)
    recorded(experiment, folder, [0.001 + 0.0001 * i for i in range(99)])
    return tuning.known(experiment, folder)


def test_rows_of_one_label_in_several_sections_are_all_tuned(file, tmp_path):
    file.write_text(SHARED)
    made = all_tuned(file, tmp_path / "runs")
    plain, tuned = ([row for row in made.rows if bool(row.tuned) == kind] for kind in (False, True))
    assert len({row.label for row in plain}) < len(plain)
    assert [row.tuned for row in tuned] == plain
    assert [(row.section, row.levels) for row in tuned] == [(row.section, row.levels) for row in plain]
    assert [len(levels) for levels in factorials(made.rows)] == [8, 8]
    shared = [row for row in tuned if row.label == "ct (tuned)"]
    assert {row.section for row in shared} == {"ladder", "factorial"}
    assert len({row.keys for row in shared}) == len({row.recipe for row in shared}) == 1
    titles = [title([made.rows[i] for i in group]) for group in groups(made.rows)]
    assert titles == [
        "From ct to ict, one choice at a time",
        "ict without one choice at a time",
        "Combinations of ct and ct + metric + teacher + noise",
        "From ct (tuned) to ict (tuned), one choice at a time",
        "ict (tuned) without one choice at a time",
        "Combinations of ct (tuned) and ct + metric + teacher + noise (tuned), tuned",
    ]
    assert tuning.known(made, tmp_path / "runs").rows == made.rows
    rows, places = tuning.answering(made, tuned=True)
    assert rows == plain
    assert [made.rows[i] for i in places] == tuned


def test_a_tuned_interaction_is_answered_by_the_tuned_factorial(file, tmp_path):
    file.write_text(SHARED)
    made, store = all_tuned(file, tmp_path / "runs"), Store(tmp_path / "runs")
    agree = {False: 0.0, True: 0.7}  # in log FID
    for i, row in sorted(enumerate(made.rows), key=lambda entry: bool(entry[1].levels)):
        level = row.levels.get("metric", -1) * row.levels.get("teacher", -1)
        for seed, key in enumerate(row.keys):
            log = 2 + agree[bool(row.tuned)] / 2 * level + 0.01 * ((3 * i + seed) % 5)
            put(store, made.cells[key], math.exp(log))
    tuned, plain = Results(made, store).verdicts
    assert (tuned.state, plain.state) == ("supported", "undecided")
    assert tuned.because.startswith("tuned: FID")


def test_a_tuned_factorial_with_a_row_missing_does_not_stop_the_report(file, tmp_path):
    file.write_text(SHARED)
    made, store = all_tuned(file, tmp_path / "runs"), Store(tmp_path / "runs")
    lost = next(row for row in made.rows if row.tuned and row.label.startswith("ct + metric + teacher ("))
    made.rows.remove(lost)
    for row in made.rows:
        for key in row.keys:
            put(store, made.cells[key], 20.0)
    assert "tuned" in page(Results(made, store), [])


OPTIONS = """
name: options
plan: [{list: [{label: own}, {label: small, set: {network.dropout: 0.1}}, {label: other, set: {network: ddpmpp}}]}]
tune: {search: {network: [ncsnpp, ddpmpp]}, trials: 2, sampler: GridSampler}
"""


@pytest.mark.parametrize("option", ["ncsnpp", "ddpmpp"])
def test_a_searched_option_keeps_the_rows_fields_or_gets_the_profiles(file, option):
    file.write_text(OPTIONS)
    experiment = planner.load(file)
    for row in experiment.rows:
        tried = tuning.tuned_recipe(
            row, {"network": option}, experiment.tuning.shape, tuning.kept(experiment)
        )
        assert tried.network.width == 16
        if option == row.recipe.network.name:
            assert tried == row.recipe


def test_what_the_profile_gives_a_searched_option_decides_the_id(file):
    file.write_text(OPTIONS.replace("{label: own}, {label: small, set: {network.dropout: 0.1}}, ", ""))
    plain = planner.load(file)
    adapt = {**plain.profile.adapt, "network.divide_by_sigma": True}  # a field that ncsnpp has, not ddpmpp
    other = planner.load(file, overrides={"profile.adapt": adapt})
    assert plain.rows == other.rows
    assert not {*tuning.studies(plain)} & {*tuning.studies(other)}


@pytest.mark.parametrize(
    ("sampler", "search", "expected"),
    [
        ("GridSampler", {"teacher": ["none", "adaptive"]}, 2),
        ("BruteForceSampler", {"teacher": ["none", "adaptive"], "metric.c": [0.01, 0.1, 0.3]}, 6),
        ("GridSampler", {"metric.c": {"low": 0.1, "high": 0.75, "step": 0.3}}, 3),
        ("GridSampler", {"network.width": {"low": 4, "high": 8}}, 5),
        ("GridSampler", {"metric.c": {"low": 0.1, "high": 0.7}}, None),
        ({"name": "GridSampler", "search_space": {"metric.c": [0.1, 0.1]}}, {"metric.c": [0.1, 0.3]}, 1),
        (
            {
                "name": "PartialFixedSampler",
                "fixed_params": {"metric.c": 0.1},
                "base_sampler": "BruteForceSampler",
            },
            {"metric.c": {"low": 0.1, "high": 0.7}, "teacher": ["none", "adaptive", "fixed"]},
            3,
        ),
        ("TPESampler", {"teacher": ["none", "adaptive"]}, None),
        ({"name": "GridSampler", "search_space": 3}, {"teacher": ["none", "adaptive"]}, None),
        ({"name": "PartialFixedSampler"}, {"teacher": ["none", "adaptive"]}, None),
    ],
)
def test_points_of_a_search_are_counted_without_its_study(file, sampler, search, expected):
    specs = planner.load(file).rows[-2].recipe.specs() | {"metric": {"name": "pseudo_huber", "c": 0.03}}
    assert points.number(sampler, search, specs) == expected


def test_a_dry_run_counts_no_more_trials_than_there_are_points(file):
    file.write_text(OPTIONS.replace("trials: 2", "trials: 8"))
    experiment = planner.load(file)
    counted = trials.listing(experiment)["tuning"]
    assert (counted["trials"], counted["cells"], counted["images"]) == (6, 6, 6 * 11200)
    assert sum("trial" in cell.key for cell in trials.outstanding(experiment)) == 6
    assert "2 trials for each of 3 recipes" in trials.overview(experiment)[0]


def test_a_trial_has_whole_batches(file):
    experiment = planner.load(file, overrides={"tune.images": 0.4999})
    images = {c.profile.images for c in trials.outstanding(experiment) if "trial" in c.key}
    assert images == {350 * 16}
