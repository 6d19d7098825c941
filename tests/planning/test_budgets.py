"""`budgets`: every row with so many times the profile's images."""

from __future__ import annotations

import json

import pytest
from helpers.cli import call

from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.cost import estimate
from ablate.planning import planner

ROWS = [{"list": [{"label": "ict"}, {"label": "l2", "set": {"metric": "squared_l2"}}]}]


@pytest.fixture
def planned(tmp_path):
    """A function that plans a file."""

    def make(plan=ROWS, overrides=None, **more):
        file = tmp_path / "test.yaml"
        file.write_text(yaml_files.write({"name": "test", "plan": plan, **more}))
        return planner.load(file, overrides=overrides)

    return make


def test_budget_one_is_the_row_without_budgets(planned):
    plain, many = planned(seeds=[0, 1]), planned(seeds=[0, 1], budgets=[2, 1, 0.5])
    assert [row.budget for row in many.rows] == [0.5, 0.5, 1, 1, 2, 2]
    assert [row.keys for row in many.rows if row.budget == 1] == [row.keys for row in plain.rows]
    assert planned(budgets=[1]).rows == planned().rows
    assert planned(budgets=[1]).budgets == ()
    assert len(many.cells) == 12


def test_only_the_images_differ_in_whole_batches(planned):
    own = planned().profile
    for budget in (0.501, 2, 3.3):
        (cell, *_) = planned(budgets=[budget]).cells.values()
        assert cell.profile.images % own.batch == 0
        assert abs(cell.profile.images - budget * own.images) <= own.batch / 2
        assert cell.profile == own.model_copy(update={"images": cell.profile.images})


def test_a_budget_is_the_profile_with_that_many_images(planned):
    """With the same decay, its cells are those of --set profile.images, which are not computed twice."""
    fixed = {"averaging.decay": 0.9}
    scaled = planned(budgets=[2], overrides=fixed)
    images = 2 * planned().profile.images
    assert {*scaled.cells} == {*planned(overrides={"profile.images": images, **fixed}).cells}


def test_the_average_covers_the_same_share_of_every_run(planned):
    rows = planned(budgets=[0.5, 1, 4]).rows[::2]
    steps = [round(row.budget * planned().profile.steps) for row in rows]
    shares = [row.recipe.averaging.initial_share(K) for row, K in zip(rows, steps, strict=True)]
    assert shares == pytest.approx([shares[1]] * 3, rel=1e-4)
    assert not any(row.changed for row in rows)


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({"set": {"averaging.decay": 0.9}}, {0, 1}),
        ({"overrides": {"averaging": {"name": "constant", "decay": 0.9}}}, {0, 1}),
        ({"plan": [{"list": [{"label": "a"}, {"label": "b", "set": {"averaging.decay": 0.985}}]}]}, {1}),
        ({"plan": [{"grid": {"averaging.decay": [0.985, 0.97]}}]}, {0, 1}),
        ({"plan": [{"list": [{"label": "a"}, {"label": "p", "set": {"averaging": "power"}}]}]}, {1}),
    ],
)
def test_a_decay_that_somebody_set_stays(planned, more, kept):
    rows = planned(budgets=[1, 2], **more).rows
    before, after = rows[:2], rows[2:]
    same = {i for i in (0, 1) if before[i].recipe.averaging == after[i].recipe.averaging}
    assert same == kept


def test_claims_are_checked_within_a_budget(planned):
    claim = {"id": "P5", "says": "s", "better": {"row": "ict"}, "worse": {"row": "l2"}}
    assert len(planned(budgets=[1, 2], claims=[claim]).claims) == 1
    sweep = {"id": "s", "says": "s", "monotone": "metric.c"}
    grid = [{"grid": {"metric.c": [0.1, 0.2]}}]
    with pytest.raises(SpecError, match="needs three rows that differ in this field alone"):
        planned(grid, budgets=[1, 2], claims=[sweep])


WRONG = [
    (
        [0.0001],
        "budgets: 0.0001: this share of 11200 images is less than a batch of 16; needs at least 0.0014",
    ),
    ([0.005, 1], "budgets: 0.005: row 'ict': K >= log2 floor(s1/s0) + 1 = 8 must hold, but got K=4 steps, "),
    ([0.005], "budgets: 0.005: row 'ict': K >= log2 floor(s1/s0) + 1 = 8 must hold, but got K=4 steps, "),
    ([0.5, 0.5001], "budgets: 0.5001: has 350 steps, as 0.5 has"),
    ([0.9999, 1.0003], "budgets: 1.0003: has 700 steps, as 0.9999 has"),
    ([-1, 2], "budgets.0: '-1': input should be greater than 0"),
    (["a"], "budgets.0: 'a': input should be a valid number"),
    (2, "budgets: '2': input should be a valid list"),
]


@pytest.mark.parametrize(("budgets", "line"), WRONG)
def test_one_line_for_what_is_wrong(planned, budgets, line):
    with pytest.raises(SpecError) as error:
        planned(budgets=budgets)
    assert len(error.value.problems) == 1
    assert line in error.value.problems[0]
    with pytest.raises(SpecError) as error:
        planned(overrides={"budgets": budgets})
    assert line.split(":")[-1] in error.value.problems[-1]


def test_mistakes_of_rows_are_said_once_and_with_those_of_budgets(planned):
    wrong = [{"list": [{"label": "a", "set": {"metric.c": -1}}, {"label": "b"}]}]
    with pytest.raises(SpecError) as error:
        planned(wrong, budgets=[0.005, 1, 2])
    first, second = error.value.problems
    assert "row 'a': metric.c" in first
    assert "budgets: 0.005: row 'b'" in second


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ({"grid": {"profile.images": [100, 200]}}, "profile.images: .* `budgets: "),
        ({"zip": {"profile.images": [100, 200], "metric.c": [1.0, 2.0]}}, "profile.images: .* `budgets: "),
        ({"list": [{"set": {"profile.images": 100}}]}, "profile.images: .* `budgets: "),
        ({"grid": {"profile.batch": [8, 16]}}, "profile.batch: .* --set"),
        ({"list": [{"set": {"profile": {"images": 3}}}]}, "profile: .* --set"),
    ],
)
def test_a_grid_over_the_profile_says_what_is_meant(planned, entry, hint):
    with pytest.raises(SpecError, match=hint) as error:
        planned([entry])
    assert len(error.value.problems) == 1


@pytest.mark.parametrize("command", [("run", "--dry-run"), ("doctor",), ("status",), ("report",)])
def test_every_command_refuses_a_budget_alike(tmp_path, command):
    (tmp_path / "a.yaml").write_text(yaml_files.write({"name": "a", "plan": ROWS}))
    name, *rest = command
    for typed, line in (
        ("0.0001,1", "budgets: 0.0001: this share"),
        ("1;2", "--budgets 1;2: needs numbers"),
        ("1e3", "--b"),
    ):
        done = call(name, "a.yaml", *rest, "--budgets", typed, cwd=tmp_path)
        assert done.returncode == 2
        assert line in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_study_has_one_budget(tmp_path):
    study = {"name": "s", "search": {"metric.c": {"low": 0.01, "high": 0.1}}, "trials": 2}
    (tmp_path / "s.yaml").write_text(yaml_files.write(study))
    done = call("study", "s.yaml", "--dry-run", "--budgets", "1,2", cwd=tmp_path)
    assert done.returncode == 2
    assert "a study has one budget" in done.stderr


def test_costs_count_every_cell_with_its_own_length(tmp_path, planned):
    own = planned().profile
    (tmp_path / "a.yaml").write_text(yaml_files.write({"name": "a", "plan": ROWS, "seeds": [0, 1]}))
    done = call("run", "a.yaml", "--dry-run", "--json", "--budgets", "0.5,1,2", cwd=tmp_path)
    plain = json.loads(done.stdout)
    assert (plain["cells"], plain["images"]) == (12, 4 * 3.5 * own.images)
    assert [row["steps"] for row in plain["rows"]] == [350, 350, 700, 700, 1400, 1400]
    assert (
        "350 or 700 or 1400 steps"
        in call("run", "a.yaml", "--dry-run", "--budgets", "0.5,1,2", cwd=tmp_path).stdout
    )


def test_hours_add_up_the_lengths_and_a_step_is_timed_once(tmp_path, planned, monkeypatch):
    groups = estimate.groups(planned(budgets=[1, 3]), tmp_path)
    assert len({group.cells[0].profile.images for group in groups}) == 2
    timed = []
    monkeypatch.setattr(
        estimate, "_measure_group", lambda group, *_: timed.append(group) or estimate.Timing(1.0, 0.0)
    )
    timings = estimate.measure_groups(groups, None, 1, 1, "cpu")
    assert len(timed) == 1
    seconds = 2 * (1 + 3) * planned().profile.steps
    assert estimate.hours(groups, timings, 1) == pytest.approx((seconds + estimate.AROUND_S) / 3600)


def test_a_budget_has_the_steps_of_its_cells_where_batches_do_not_divide_the_images(planned):
    odd = {"profile.images": 11200 + 8}  # 700.5 batches
    found = planned(budgets=[1, 1.001], overrides=odd)
    assert [found.profile_of(row).steps for row in found.rows] == [700, 700, 701, 701]
    with pytest.raises(SpecError, match=r"budgets: 1: has 700 steps, as 0\.9995 has"):
        planned(budgets=[0.9995, 1], overrides=odd)
