"""The plan kind `factorial`: its rows are those of any other plan, and mistakes are said before anything runs."""

from __future__ import annotations

import pytest
from helpers.cli import call

from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.planning.factorial import factorials
from ablate.planning.planner import load

AXES = ["weighting", "teacher", "metric", "curriculum", "noise", "embedding", "network"]
SHIPPED = yaml_files.folders("x")[1].parent


@pytest.fixture
def planned(tmp_path):
    """A function that plans a file with one factorial."""

    def make(more=(), **fields):
        entry = {"factorial": {"from": "ct", "to": "ict", **fields}}
        file = tmp_path / "test.yaml"
        file.write_text(yaml_files.write({"name": "test", "plan": [entry, *more]}))
        return load(file)

    return make


def test_the_endpoints_are_the_cells_of_table1(planned):
    table1 = load(SHIPPED / "table1.yaml", seeds=[0])
    ladder = [row.keys for row in table1.rows if row.section == "ladder"]
    rows = planned(axes=AXES, resolution="full").rows
    keys = {tuple(axis for axis in AXES if row.levels[axis] > 0): row.keys for row in rows}
    assert len(rows) == 128
    assert [keys[tuple(AXES[:n])] for n in range(8)] == ladder
    without = [row.keys for row in table1.rows if row.section == "leave_one_out" and row.changed]
    assert {keys[tuple(a for a in AXES if a != axis)] for axis in AXES} == {*without}


def test_rows_are_named_by_what_they_change(planned):
    rows = planned(axes=["metric", "teacher"], resolution="full").rows
    assert [row.label for row in rows] == ["ct", "ct + teacher", "ct + metric", "ct + metric + teacher"]
    assert {row.base for row in rows} == {"ct"}
    assert [row.levels for row in rows][1] == {"metric": -1, "teacher": 1}
    assert planned(resolution="IV").rows[-1].label == "ict"


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"resolution": "III"}, 9),  # eight, and `ct`, which an odd fraction leaves out
        ({"resolution": "IV"}, 16),
        ({"resolution": "V"}, 65),
        ({"runs": 32}, 33),
        ({"axes": AXES[:6], "runs": 32}, 32),
        ({"axes": AXES[:3], "resolution": "III"}, 5),
    ],
)
def test_a_fraction_has_both_ends_and_a_design(planned, fields, size):
    experiment = planned(**fields)
    assert len(experiment.rows) == len({row.keys for row in experiment.rows}) == size
    assert experiment.rows[0].label == "ct"
    (design,) = factorials(experiment.rows)
    assert len(design) == size - size % 2
    for axis in next(iter(design.values())):
        assert sum(levels[axis] for levels in design.values()) == 0
    assert {*next(iter(design.values())).values()} <= {-1, 1}


def test_without_axes_all_that_differ_after_profile_and_set(planned, tmp_path):
    assert {*planned(resolution="IV").rows[-1].levels} == {*AXES}
    file = tmp_path / "set.yaml"
    file.write_text(
        "name: x\nset: {metric: squared_l2}\nplan: [{factorial: {from: ct, to: ict, resolution: IV}}]\n"
    )
    assert {*load(file).rows[-1].levels} == {*AXES} - {"metric"}


def test_two_factorials_stand_apart(planned):
    more = [{"factorial": {"from": "ict", "to": "ct", "axes": ["noise", "teacher"], "resolution": "full"}}]
    rows = planned(more, axes=["metric", "teacher"], resolution="full").rows
    found = factorials(rows)
    assert [[*levels] for levels in found] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert rows[4].label == rows[4].base == "ict"


WRONG = {  # fields -> what is said, a line each
    "an axis that both share": (
        {"axes": ["levels", "teacher"], "resolution": "full"},
        ["axes[0]: 'levels' is the same in ct and ict; the recipes differ in curriculum, noise, weighting"],
    ),
    "an unknown axis": (
        {"axes": ["metrik", "teacher"], "resolution": "full"},
        ["axes[0]: 'metrik' is not an axis; did you mean 'metric'?"],
    ),
    "an axis twice": (
        {"axes": ["metric", "teacher", "metric"], "resolution": "full"},
        ["axes[2]: 'metric' is listed twice"],
    ),
    "no fraction has it": (
        {"axes": ["metric", "teacher", "noise"], "resolution": "V"},
        ["resolution: V: no fraction of 3 axes has it; the smallest design that has is `full`, 8 rows"],
    ),
    "an unknown resolution": (
        {"axes": ["metric", "teacher"], "resolution": "VI"},
        ["resolution: 'VI': needs one of full, III, IV, V"],
    ),
    "no power of two": ({"axes": AXES, "runs": 48}, ["runs: 48 is no power of two; did you mean 32?"]),
    "too few runs": ({"axes": AXES, "runs": 4}, ["runs: 4: 7 axes have designs of 8, 16, 32, 64, 128 runs"]),
    "too many runs": ({"axes": AXES[:2], "runs": 8}, ["runs: 8: 2 axes have designs of 4 runs"]),
    "no number": ({"axes": AXES, "runs": 1.5}, ["runs: needs a whole number from 1, not 1.5"]),
    "too few axes": ({"axes": ["metric"], "resolution": "full"}, ["axes: needs two axes at least, not 1"]),
    "no list": ({"axes": "metric", "resolution": "full"}, ["axes: needs a list of axes, not 'metric'"]),
    "neither": ({}, ["factorial: needs either `resolution` (full, III, IV, V) or `runs`"]),
    "both": ({"resolution": "IV", "runs": 16}, ["factorial: needs either `resolution`"]),
    "the same recipe": ({"to": "ct", "resolution": "full"}, ["ct and ct are equal in every axis"]),
    "unknown key": ({"resolution": "IV", "axis": []}, ["axis: unknown key; did you mean 'axes'?"]),
    "all together": (
        {"axes": ["levels", "metrik", "teacher", "noise"], "runs": 9},
        ["axes[0]: 'levels'", "axes[1]: 'metrik'", "runs: 9 is no power of two; did you mean 8?"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_said_together(planned, name):
    fields, wanted = WRONG[name]
    with pytest.raises(SpecError) as error:
        planned(**fields)
    assert len(error.value.problems) == len(wanted)
    assert all(want in line for want, line in zip(wanted, error.value.problems, strict=True))
    assert all("plan[0].factorial" in line for line in error.value.problems)


@pytest.mark.parametrize("command", [("run",), ("run", "--dry-run"), ("doctor",), ("report",)])
def test_every_command_says_so_first(tmp_path, command):
    (tmp_path / "x.yaml").write_text(
        "name: x\nplan: [{factorial: {from: ct, to: ict, axes: [levels, metrik], runs: 6}}]\n"
    )
    done = call(command[0], "x.yaml", *command[1:], cwd=tmp_path)
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 3
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_counts_every_row(tmp_path):
    text = "name: x\nseeds: [0, 1]\nplan: [{factorial: {from: ct, to: ict, resolution: IV}}]\n"
    (tmp_path / "x.yaml").write_text(text)
    done = call("run", "x.yaml", "--dry-run", cwd=tmp_path)
    assert "16 distinct recipes, 2 seeds, 32 cells" in done.stdout
