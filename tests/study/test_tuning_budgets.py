"""`tune` with `budgets`: one study for each row, and its best values at every budget."""

from __future__ import annotations

import json
import math
import random

import pytest
from helpers.cli import call
from helpers.instant_cells import Instant

from ablate.analysis import budgets, sequential, verdicts
from ablate.analysis.results import Results
from ablate.analysis.tuned import tuned
from ablate.core.errors import SpecError
from ablate.execution import runner
from ablate.execution.scheduler import Scheduler
from ablate.planning import planner, trials, tuning
from ablate.report.page import page
from ablate.runs.store import Store
from ablate.study import tuning as studies

FILE = """
name: made
seeds: [0, 1, 2]
budgets: [0.5, 1, 2]
plan:
  - list:
      - {label: huber}
      - {label: square, set: {metric: squared_l2}}
tune: {search: {optimizer.lr: {low: 0.0001, high: 0.1, log: true}}, trials: 6, seeds: [100], images: 0.5}
claims:
  - {id: U, says: "untuned", better: {row: huber}, worse: {row: square}}
  - {id: T, says: "tuned", better: {row: huber}, worse: {row: square}, tuned: true}
"""


def fid(recipe, share=1.0):
    """At the rate of both, square is better; each at its own, huber is."""
    lowest, rate = {"pseudo_huber": (10, 0.02), "squared_l2": (20, 0.0004)}[recipe["metric"]]
    draw = random.Random(f"{recipe['seed']} {recipe['averaging.decay']}").gauss(0, 0.02)
    return lowest * math.exp(0.3 * math.log(recipe["optimizer.lr"] / rate) ** 2 + draw)


def planned(place, text=FILE, **changes):
    (place / "made.yaml").write_text(text)
    return planner.load(place / "made.yaml", overrides=changes)


def compute(place, text=FILE):
    """Tune and compute the file as `run` does: results, and the keys that were computed."""
    experiment, store, executor = planned(place, text), Store(place / "runs"), Instant(room=2, fid=fid)
    experiment = sequential.recorded(experiment, store.path)
    make = lambda s, follow, n: Scheduler(executor, s, follow)  # noqa: E731
    assert studies.run(experiment, studies.plans(experiment), store, make) == ""
    experiment = sequential.recorded(experiment, store.path)
    folder = place / "reports" / "made"
    folder.mkdir(parents=True, exist_ok=True)
    for part in budgets.stages(experiment, store, folder, lambda said: None):
        assert not runner.run(part, store, make).failed
    return Results(experiment, store, folder=folder), executor.computed


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        place = tmp_path_factory.mktemp("tuned")
        return place, *compute(place)


def test_the_best_values_of_one_study_are_used_at_every_budget(done):
    place, results, computed = done
    rows = [row for row in results.experiment.rows if row.tuned]
    assert [(row.label, row.budget) for row in rows] == [
        (f"{name} (tuned)", budget) for budget in (0.5, 1, 2) for name in ("huber", "square")
    ]
    assert len(computed) == len({*computed}) == 2 * 6 + 2 * 2 * 3 * 3
    for name, found in results.experiment.tuning.found.items():
        of = [row for row in rows if tuning.named(found.row) == row.label]
        assert {row.recipe.optimizer.lr for row in of} == {found.best.params["optimizer.lr"]}, name
        assert found.images == results.experiment.profile.images // 2
        for row in of:  # else as the file has it, also the average that is fitted to the budget
            assert row.recipe.averaging == row.tuned.recipe.averaging
    assert compute(place)[1] == []


def test_the_trials_are_those_of_the_file_without_budgets(tmp_path):
    both, one = planned(tmp_path), planned(tmp_path, FILE.replace("budgets: [0.5, 1, 2]\n", ""))
    assert {*tuning.studies(both)} == {*tuning.studies(one)}
    without_own = planned(tmp_path, FILE.replace("[0.5, 1, 2]", "[2, 4]"))  # the profile's images are no row
    assert {*tuning.studies(without_own)} == {*tuning.studies(one)}
    ids = [plan.id for plan in studies.plans(without_own).values()]
    assert ids == [plan.id for plan in studies.plans(one).values()]


def test_claims_and_tables_have_tuned_and_untuned_at_each(done):
    _, results, _ = done
    experiment = results.experiment
    for budget in experiment.budgets:
        found = verdicts.answers(*verdicts.at(experiment, results.scores, budget))
        assert [v.state for v in found] == ["contradicted", "supported"], budget
    assert [v.state for v in results.verdicts] == ["contradicted", "supported"]
    assert [v and experiment.rows[v.base].named for v in results.versus][6:] == [
        *(None, "huber (tuned), 0.5 times the images"),
        *(None, "huber (tuned)"),
        *(None, "huber (tuned), 2 times the images"),
    ]
    labels = [track.label for track in results.tracks]
    assert labels == ["huber", "square", "huber (tuned)", "square (tuned)"]
    assert all(len(track.points) == 3 for track in results.tracks if track.base)
    assert {line["row"] for line in budgets.read(results.folder)} == {"square", "square (tuned)"}
    assert [[before.row.budget for before, after in of.lines if after] for of in tuned(results)] == [
        [0.5, 1, 2],
        [0.5, 1, 2],
    ]
    text = page(results, [])
    section = text[text.index("## Tuned rows") : text.index("## Effects over budget")]
    for row in ("huber", "square"):
        for more in ("", ", 0.5 times the images", ", 2 times the images"):
            assert section.count(f"| {row}{more} ") == 1
    assert section.count("optimizer.lr=") == 2  # once for all budgets
    assert "its values may not be the best at another number of images" in section


def test_a_dry_run_counts_everything(tmp_path):
    experiment = planned(tmp_path)
    shown = trials.listing(experiment)["tuning"]
    assert (shown["trials"], shown["cells"], shown["unknown"]) == (12, 12, 2 * 3 * 3)
    assert shown["images"] == 12 * experiment.profile.images // 2
    stand_ins = trials.outstanding(experiment)
    assert len({cell.key for cell in stand_ins}) == len(stand_ins) == 12 + 18
    images = sorted(cell.profile.images / experiment.profile.images for cell in stand_ins)
    assert images == [0.5] * (12 + 6) + [1] * 6 + [2] * 6


def test_the_command_line_says_the_same(tmp_path):
    (tmp_path / "made.yaml").write_text(FILE)
    plain = json.loads(call("run", "made.yaml", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert (plain["cells"], plain["missing"]) == (18, 18 + 12 + 18)
    assert plain["tuning"]["unknown"] == 18


def test_rows_that_are_equal_at_the_profiles_images_share_a_study(tmp_path):
    """One names the decay that the other has: it stays at all budgets, so their other cells differ."""
    decay = planned(tmp_path).rows[2].recipe.averaging.decay
    same = FILE.replace("metric: squared_l2", f"averaging.decay: {decay}")
    experiment = planned(tmp_path, same)
    assert len(tuning.studies(experiment)) == 1
    assert trials.listing(experiment)["tuning"]["unknown"] == (2 + 1 + 2) * 3


@pytest.mark.parametrize(
    ("budgets", "changes", "problem"),
    [
        (
            "[0.01, 1]",
            {"curriculum.s1": 20, "tune.search.curriculum.s1": [20, 1280]},
            r"tune.search.curriculum.s1: 1280: budgets: 0.01: K >= .* \(row 'huber' and 1 more\)",
        ),
        ("[0.5, 1]", {"tune.images": 0.01}, r"tune.images: 0.01: "),
        (
            "[0.5, 1]",
            {"tune.search.metric.c": {"low": 0.1, "high": 1}},
            r"squared_l2 has no such field; it has none \(row 'square'",
        ),
        ("[1, 2]", {"tune.seeds": [2]}, r"tune.seeds: 2: it is one of the reported seeds"),
        ("[40, 80]", {"profile.images": 32}, r"yaml: tune.images: 0.5: K >= .* \(row 'huber' and 1 more\)$"),
    ],
)
def test_mistakes_are_errors_of_the_plan(tmp_path, budgets, changes, problem):
    with pytest.raises(SpecError, match=problem):
        planned(tmp_path, FILE.replace("[0.5, 1, 2]", budgets), **changes)
