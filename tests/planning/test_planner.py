from __future__ import annotations

import itertools

import pytest

import ablate
from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.planning import planner
from ablate.planning.experiment import overview
from ablate.study import search as studies


@pytest.fixture
def planned(tmp_path):
    """A function that plans a file of the given entries."""

    def make(entries, **more):
        file = tmp_path / "test.yaml"
        options = {k: more.pop(k) for k in ("profile", "overrides", "seeds") if k in more}
        file.write_text(yaml_files.write({"name": "test", "plan": entries, **more}))
        return planner.load(file, **options)

    return make


def test_a_grid_is_every_combination_and_a_zip_is_not(planned):
    fields = {"metric.c": [0.01, 0.03, 0.1], "teacher": ["none", "adaptive", "fixed"]}
    assert len(planned([{"grid": fields}]).rows) == 9
    zipped = planned([{"zip": fields}])
    assert [r.recipe.flat()["teacher"] for r in zipped.rows] == ["none", "adaptive", "fixed"]
    assert [r.recipe.metric.c for r in zipped.rows] == [0.01, 0.03, 0.1]


def test_equal_cells_collapse_across_plans_and_seeds_multiply(planned):
    same = planned(
        [
            {"list": [{"label": "a"}, {"label": "b", "set": {"noise.p_mean": -1.1}}]},
            {"grid": {"teacher": ["none"]}},
        ]
    )
    assert len(same.rows) == 3
    assert len(same.cells) == 1
    assert len(planned([{"list": [{"label": "a"}]}], seeds=[0, 1, 2]).cells) == 3


def test_a_ladder_goes_from_one_recipe_to_the_other_one_axis_at_a_time(planned):
    rows = planned([{"ladder": {"from": "ct", "to": "ict", "order": ["weighting", "teacher"]}}]).rows
    assert (rows[0].label, rows[-1].label) == ("ct", "ict")
    assert rows[1].label == "+ weighting=inverse_gap"
    assert rows[2].recipe.teacher.name == "none"
    for before, after in itertools.pairwise(rows):
        assert len({k.split(".")[0] for k in ablate.diff(before.recipe, after.recipe)}) == 1
        assert set(after.changed) <= set(after.recipe.flat())


def test_leave_one_out_takes_one_axis_at_a_time_from_the_other(planned):
    rows = planned([{"leave_one_out": {"from": "ict", "to": "ct"}}]).rows
    assert rows[0].label == "ict"
    for row in rows[1:]:
        assert len({k.split(".")[0] for k in ablate.diff(rows[0].recipe, row.recipe)}) == 1
        assert row.base == "ict"


def test_what_the_profile_decides_makes_no_row_but_a_note(planned):
    experiment = planned([{"ladder": {"from": "ct", "to": "ict"}}])
    changed = {k.split(".")[0] for r in experiment.rows for k in r.changed}
    assert not {"optimizer", "averaging"} & changed
    assert any("averaging, optimizer" in note for note in experiment.notes)


def test_precedence_default_recipe_adapt_set_row_command_line(planned):
    rows = [{"label": "plain"}, {"label": "own", "set": {"optimizer.lr": 0.3}}]

    def rates(**more):
        return [r.recipe.optimizer.lr for r in planned([{"list": rows}], **more).rows]

    assert rates() == [0.002, 0.3]  # adapt, row
    assert rates(set={"optimizer.lr": 0.2}) == [0.2, 0.3]
    assert rates(set={"optimizer.lr": 0.2}, overrides={"optimizer.lr": 0.4}) == [0.4, 0.4]


def test_a_row_that_varies_what_the_profile_adapts_has_a_note(planned):
    notes = planned([{"grid": {"optimizer.lr": [0.1]}}]).notes
    assert any("optimizer.lr" in n and "adapts" in n for n in notes)


def test_a_profile_still_sizes_a_network_that_a_row_replaces(planned):
    row = planned([{"list": [{"label": "d", "set": {"network": "ddpmpp"}}]}]).rows[0]
    assert row.recipe.network.width == planned([{"list": [{"label": "n"}]}]).rows[0].recipe.network.width


def test_set_reaches_the_profile(planned):
    experiment = planned(
        [{"list": [{"label": "a"}]}], overrides={"profile.images": 640, "profile.evaluation.samples": 100}
    )
    assert (experiment.profile.images, experiment.profile.evaluation.samples) == (640, 100)


def test_a_run_too_short_for_its_curriculum_is_refused_before_it_starts(planned):
    with pytest.raises(SpecError, match="K >= log2"):
        planned([{"list": [{"label": "a"}]}], overrides={"profile.images": 112})


def test_the_key_knows_the_budget_but_not_the_names(planned):
    def key(**more):
        return next(iter(planned([{"list": [{"label": more.pop("label", "a")}]}], **more).cells))

    assert key() == key(label="b") == key(summary="other")
    assert key() != key(overrides={"profile.images": 640})
    assert key() == key(overrides={"profile.log_every": 3})


def test_options_from_a_module_beside_the_file(planned, tmp_path):
    (tmp_path / "my_options_for_test.py").write_text(
        "from dataclasses import dataclass\nimport ablate\n"
        "@ablate.AXES['weighting']('test_cubed')\n@dataclass(frozen=True)\nclass Cubed:\n"
        "    '''hi^3.'''\n    def __call__(self, lo, hi):\n        return hi**3\n"
    )
    rows = planned([{"grid": {"weighting": ["test_cubed", "uniform"]}}], imports=["my_options_for_test"]).rows
    try:
        assert rows[0].recipe.weighting.name == "test_cubed"
    finally:
        del ablate.AXES["weighting"].options["test_cubed"]


@pytest.mark.parametrize(
    "file", sorted(yaml_files.folders("x")[1].parent.glob("*.yaml")), ids=lambda f: f.stem
)
def test_every_shipped_experiment_plans(file):
    if file.stem == "reference":
        pytest.skip("published numbers, no experiment")
    if file.stem.startswith("study_"):
        assert studies.load(file).space
        return
    if file.stem == "from_edm":
        with pytest.raises(
            SpecError, match=r"'converted/edm-cifar10'.*`ablate convert CHECKPOINT --out FOLDER`"
        ):
            planner.load(file)
        return
    experiment = planner.load(file)
    assert experiment.cells
    assert experiment.name == file.stem
    assert overview(experiment).count("\n") == len(experiment.rows)


@pytest.mark.parametrize("name", sorted(yaml_files.named("profiles")))
def test_every_shipped_profile_loads(name):
    from ablate.config.profile import load_profile

    assert load_profile(name).name == name


@pytest.mark.slow
def test_ten_thousand_cells_are_planned_quickly(planned):
    grid = {"metric.c": [i / 1000 for i in range(1, 51)], "noise.p_mean": [i / 10 for i in range(-10, 10)]}
    assert len(planned([{"grid": grid}], seeds=list(range(10))).cells) == 10_000


KEYS = {  # of cells that people have computed: no change of the planner may change them
    "ct": ("bc240fefa6f2", "34e0f65e1ac6"),
    "+ curriculum=exponential": ("fc416524adc2", "a621ba609a04"),
    "+ embedding.scale=0.02": ("c0d3424c149e", "cda2a76ac67c"),
    "ict": ("33dd4981c061", "7d455aef213c"),
    "ict with teacher=adaptive": ("9e993a2de42f", "b798f0e512ca"),
}


def test_keys_stay_what_they_were():
    file = yaml_files.folders("x")[1].parent / "table1.yaml"
    rows = {row.label: row.keys for row in planner.load(file).rows}
    assert {label: rows[label][:2] for label in KEYS} == KEYS
    answer = {"profile.data.labels": True, "profile.data.label_dropout": 0.1, "profile.images": 640}
    changed = planner.load(file, overrides=answer | {"optimizer.betas": [0.9, 0.99]})
    assert changed.rows[0].keys[:2] == ("7c5062f2d322", "5171c6ca230b")
