"""Recipes whose direction reads a finished denoiser: their cells, keys and budgets."""

from __future__ import annotations

import pytest
from helpers.cli import call

import ablate
from ablate.planning import planner

FILE = """\
name: distilled
profile: digits
seeds: [0, 1]
base: cd
plan:
  - list:
      - {label: ict, base: ict}
      - {label: cd}
      - {label: own share, set: {direction.share: 0.25}}
      - {label: by noise, set: {direction: noise}}
      - {label: from scratch, set: {init_from: scratch}}
      - {label: scd, base: scd}
"""


CIRCLE = "{name: network, recipe: circle.yaml}"


def load(folder, text=FILE, **kwargs):
    (folder / "distilled.yaml").write_text(text)
    return planner.load(folder / "distilled.yaml", **kwargs)


def cell(experiment, label):
    row = next(row for row in experiment.rows if row.label == label)
    return experiment.cells[row.keys[0]]


@pytest.mark.parametrize("label", ["cd", "by noise", "from scratch", "scd"])
def test_one_denoiser_is_computed_and_counted_once(label, tmp_path):
    e = load(tmp_path)
    made = cell(e, label)
    assert len({need.key for need in made.needs.values()}) == 1
    need = next(iter(made.needs.values()))
    assert made.profile.steps + need.profile.steps == e.profile.steps
    assert need.recipe.pairing.name == "denoising"
    assert need.recipe.network == made.recipe.network
    assert made.recipe.averaging.decay == cell(e, "by noise").recipe.averaging.decay


def test_two_denoisers_are_counted_both(tmp_path):
    e = load(tmp_path)
    made = cell(e, "own share")
    steps = {need.key: need.profile.steps for need in made.needs.values()}
    assert len(steps) == 2
    assert made.profile.steps + sum(steps.values()) == e.profile.steps


def test_a_key_names_the_denoiser_and_the_default_leaves_keys_alone(tmp_path):
    e = load(tmp_path)
    assert len({c.key for c in e.cells.values()}) == 12
    assert "direction" not in cell(e, "ict").recipe.keyed()
    assert {k for k in cell(e, "cd").recipe.keyed() if k.startswith("direction")} == {"direction"}
    other = load(tmp_path, FILE, overrides={"network.dropout": 0.1})
    assert cell(other, "cd").needs["direction"].key != cell(e, "cd").needs["direction"].key


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{name: network, recipe: emd}", "direction.recipe: no recipe 'emd'; did you mean 'edm'?"),
        ("network", "direction.recipe: network needs a value here"),
        ("{name: network, recipe: edm, share: 0.0}", "direction.share: 0.0: input should be greater than 0"),
        ("{name: network, recipe: ict}", "direction.recipe: 'ict': needs a denoiser, such as edm"),
        ("{name: network, recipe: circle.yaml}", "the recipes form a circle: circle.yaml -> circle.yaml"),
        ("{name: reference, more: -1}", "direction.more: -1: input should be greater than or equal to 0"),
        ("refrence", "direction: no option 'refrence'; did you mean 'reference'?"),
    ],
)
def test_mistakes_are_one_line_wherever_a_file_is_planned(spec, said, tmp_path):
    text = FILE.split("plan:")[0] + f"plan:\n  - list: [{{label: mine, set: {{direction: {spec}}}}}]\n"
    (tmp_path / "distilled.yaml").write_text(text)
    (tmp_path / "circle.yaml").write_text(f"name: circle\nbase: edm\ndirection: {CIRCLE}\n")
    for words in (("run", "--dry-run"), ("doctor",), ("run",)):
        done = call(words[0], "distilled.yaml", *words[1:], cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert said in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["cd", "scd"])
def test_distillation_differs_from_its_consistency_training_as_the_papers_say(name):
    base, own = {"cd": ("ict", {"init_from"}), "scd": ("sct", {"network.dropout"})}[name]
    changed = ablate.diff(ablate.load_recipe(base), ablate.load_recipe(name))
    rest = {k for k in changed if k.split(".")[0] not in ("direction", "init_from")} | (own & {*changed})
    assert rest == own
