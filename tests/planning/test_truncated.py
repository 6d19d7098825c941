"""Recipes whose teacher is another cell below a level: cells, keys, budgets, and what is refused when you plan."""

from __future__ import annotations

import pytest
from helpers.cli import call

from ablate.planning import planner

FILE = """\
name: truncated
profile: digits
seeds: [0]
base: tcm
plan:
  - list:
      - {label: tcm}
      - {label: own share, set: {teacher.share: 0.25}}
      - {label: higher, set: {teacher.level: 0.82}}
      - {label: own teacher, set: {teacher: none, pairing.boundary_share: 0.0}}
      - {label: stage 1, base: ect_tuned}
"""


def cells(folder, **kwargs):
    (folder / "truncated.yaml").write_text(FILE)
    e = planner.load(folder / "truncated.yaml", **kwargs)
    return e, {row.label: e.cells[row.keys[0]] for row in e.rows}


@pytest.mark.parametrize("label", ["tcm", "higher", "own teacher"])
def test_stage_1_is_one_cell_that_has_a_denoiser_of_its_own(label, tmp_path):
    e, made = cells(tmp_path)
    stages = {need.key: need for need in made[label].needs.values()}
    assert len(stages) == 1
    stage = next(iter(stages.values()))
    denoiser = stage.needs["init_from"]
    steps = [cell.profile.steps for cell in (denoiser, stage, made[label])]
    assert steps == [175, 175, 350]
    assert sum(steps) == e.profile.steps
    assert (stage.recipe.pairing.stages, stage.recipe.teacher.name) == (8, "none")
    assert stage.recipe.network == made[label].recipe.network


def test_two_shares_are_two_cells(tmp_path):
    _, made = cells(tmp_path)
    assert len({need.key for need in made["own share"].needs.values()}) == 2


def test_keys_tell_levels_and_stages_apart_and_leave_other_recipes_alone(tmp_path):
    _, made = cells(tmp_path)
    assert len({cell.key for cell in made.values()}) == 5
    keyed = made["tcm"].recipe.keyed()
    assert {k for k in keyed if k.startswith("teacher")} == {"teacher", "teacher.level"}
    plain = made["stage 1"].recipe.keyed()
    assert not {"pairing.t_from", "pairing.boundary_share", "pairing.boundary", "pairing.cap"} & plain.keys()
    _, other = cells(tmp_path, overrides={"network.dropout": 0.1})
    assert other["tcm"].needs["teacher"].key != made["tcm"].needs["teacher"].key


MISTAKES = [
    (
        "teacher.level: 0.9",
        "below teacher.level=0.9 the model is another cell's network; use no lower levels",
    ),
    ("teacher.level: 80.0", "teacher.level: 80.0: must be at least 0.1 % above sigma_min=0.002 and below"),
    ("teacher.level: 0.002", "teacher.level: 0.002: must be at least 0.1 % above sigma_min=0.002 and below"),
    ("teacher.level: 0.0", "teacher.level: 0.0: input should be greater than or equal to 0.000001"),
    ("teacher.recipe: edm", "teacher.recipe: 'edm': trains a denoiser; needs a consistency function"),
    ("teacher.recipe: ect_tund", "teacher.recipe: no recipe 'ect_tund'; did you mean 'ect_tuned'?"),
    ("teacher: frozen_below", "teacher.recipe: frozen_below needs a value here"),
    ("teacher: frozen_bellow", "teacher: no option 'frozen_bellow'; did you mean 'frozen_below'?"),
    ("teacher: none", "pairing.boundary_share: 0.25: needs a teacher with a level, such as frozen_below"),
    (
        "pairing.boundary_share: 1.0",
        "pairing.boundary_share: 1.0: input should be less than or equal to 0.99",
    ),
    ("pairing.boundary: -0.1", "pairing.boundary: -0.1: input should be greater than or equal to 0"),
    ("pairing.t_from: nois", "pairing.t_from: 'nois': input should be 'own' or 'noise'"),
    ("noise.low: 80.0", "low must be below the highest level, 80, but got low=80.0"),
]


@pytest.mark.parametrize(("change", "said"), MISTAKES, ids=[change for change, _ in MISTAKES])
def test_mistakes_are_one_line_wherever_a_file_is_planned(change, said, tmp_path):
    text = FILE.split("plan:")[0] + f"plan:\n  - list: [{{label: mine, set: {{{change}}}}}]\n"
    (tmp_path / "truncated.yaml").write_text(text)
    for words in (("run", "--dry-run"), ("doctor",), ("run",)):
        done = call(words[0], "truncated.yaml", *words[1:], cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
        assert said in done.stderr
    assert not (tmp_path / "runs").exists()
