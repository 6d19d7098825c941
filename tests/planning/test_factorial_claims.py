"""The claim kinds `interaction` and `main_effect`: which factorials answer it, and what it says of made-up ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.planning import claims
from ablate.planning.planner import load


def plan(tmp_path, fields, claim=None, more=()):
    file = tmp_path / "made.yaml"
    entries = [{"factorial": {"from": "ct", "to": "ict", **fields}}, *more]
    content = {"name": "made", "seeds": [0, 1, 2], "plan": entries}
    file.write_text(yaml_files.write(content | ({"claims": [claim]} if claim else {})))
    return load(file)


def claim(*axes, **more):
    return {"id": "x", "says": "s", "interaction": [*axes], **more}


def table(experiment, effect, lost=()):
    """FIDs in which metric and teacher interact by `effect`, measured by three seeds."""
    rng = np.random.default_rng(0)
    logs = {
        i: 3
        + row.levels.get("noise", 0)
        + effect / 2 * math.prod(row.levels.get(a, 0) for a in ("metric", "teacher"))
        for i, row in enumerate(experiment.rows)
    }
    return {
        (i, 1): {
            "": {s: math.inf if (i, s) in lost else math.exp(log + rng.normal() * 0.05) for s in range(3)}
        }
        for i, log in logs.items()
    }


THREE = {"axes": ["metric", "teacher", "noise"], "resolution": "full"}


@pytest.mark.parametrize(
    ("sign", "effect", "supported", "contradicted"),
    [
        ("any", 0.3, True, False),
        ("any", -0.3, True, False),
        ("any", 0.0, False, False),
        ("positive", 0.3, True, False),
        ("positive", -0.3, False, True),
        ("negative", -0.3, True, False),
        ("negative", 0.3, False, True),
        ("negative", 0.0, False, False),
    ],
)
def test_its_test_sees_what_is_there(tmp_path, sign, effect, supported, contradicted):
    experiment = plan(tmp_path, THREE)
    found = claims.read(claim("teacher", "metric", sign=sign), "claims[0]").test(
        experiment.rows, {}, table(experiment, effect)
    )
    assert (found.support < 0.01, found.against < 0.01) == (supported, contradicted)
    assert found.n == 3
    assert "with both or neither of metric and teacher changed" in found.because
    assert (found.p < 0.01) == (supported or contradicted)


def test_it_needs_every_row_and_leaves_diverged_ones_out(tmp_path):
    experiment = plan(tmp_path, THREE)
    read = claims.read(claim("metric", "teacher"), "claims[0]")
    assert read.rows(experiment.rows, {}) == {*range(8)}
    whole = table(experiment, 0.3)
    part = {place: found for place, found in whole.items() if place[0] != 5}
    assert read.test(experiment.rows, {}, part).because == "1 of 8 rows of the factorial have no result"
    found = read.test(experiment.rows, {}, table(experiment, 0.3, lost=[(5, 1)]))
    assert found.because.endswith("1 diverged recipe is left out")
    assert found.support < 0.01
    none = read.test(experiment.rows, {}, table(experiment, 0.3, lost=[(i, 0) for i in range(5)]))
    assert (none.n, none.p) == (0, 1.0)


def test_it_takes_the_factorial_that_has_both(tmp_path):
    more = [{"factorial": {"from": "ict", "to": "ct", "axes": ["metric", "teacher"], "resolution": "full"}}]
    experiment = plan(tmp_path, {"axes": ["noise", "weighting"], "resolution": "full"}, more=more)
    assert claims.read(claim("metric", "teacher"), "x").rows(experiment.rows, {}) == {4, 5, 6, 7}


@pytest.mark.parametrize(
    ("fields", "axes", "says"),
    [
        (THREE, ("metric", "techer"), "'techer' is no axis of a factorial; did you mean 'teacher'?"),
        (THREE, ("metric", "metric"), "needs two axes, not 'metric' twice"),
        (
            {"resolution": "IV"},
            ("metric", "teacher"),
            "this fraction cannot tell metric x teacher from curriculum x network, noise x weighting",
        ),
        (
            {"axes": THREE["axes"], "resolution": "III"},
            ("metric", "teacher"),
            "from noise; resolution V or full can",
        ),
    ],
)
def test_what_a_design_cannot_answer_is_an_error_of_the_plan(tmp_path, fields, axes, says):
    with pytest.raises(SpecError) as error:
        plan(tmp_path, fields, claim(*axes))
    (line,) = error.value.problems
    assert "claims[0] (x): interaction: " in line
    if "curriculum" in says:
        assert "this fraction cannot tell" in line
    else:
        assert says in line


def test_without_a_factorial_it_is_an_error(tmp_path):
    file = tmp_path / "made.yaml"
    file.write_text(
        yaml_files.write(
            {"name": "x", "plan": [{"list": [{"label": "a"}]}], "claims": [claim("metric", "noise")]}
        )
    )
    with pytest.raises(SpecError, match="the plan has no factorial"):
        load(file)


def test_without_an_interval_it_shows_none(tmp_path):
    experiment = plan(tmp_path, {"axes": ["metric", "teacher"], "resolution": "full"})
    one_seed = {row: {"": {0: by[""][0]}} for row, by in table(experiment, 0.3).items()}
    found = claims.read(claim("teacher", "metric"), "claims[0]").test(experiment.rows, {}, one_seed)
    assert "nan" not in found.because
    assert "[" not in found.because


@pytest.mark.parametrize(
    ("axis", "sign", "supported", "contradicted"),
    [
        ("noise", "negative", False, True),  # it raises log FID by 2 between its levels, in every context
        ("noise", "positive", True, False),
        ("noise", "any", True, False),
        ("metric", "negative", False, False),  # its effects in the two contexts of teacher cancel
        ("metric", "any", False, False),
    ],
)
@pytest.mark.parametrize("resolution", ["full", "IV"])
def test_a_main_effect_is_the_mean_over_the_other_choices(
    tmp_path, axis, sign, supported, contradicted, resolution
):
    axes = ["metric", "teacher", "noise", "weighting"]
    experiment = plan(tmp_path, {"axes": axes, "resolution": resolution})
    entry = {"id": "x", "says": "s", "main_effect": axis, "sign": sign}
    found = claims.read(entry, "claims[0]").test(experiment.rows, {}, table(experiment, 0.3))
    assert (found.support < 0.01, found.against < 0.01) == (supported, contradicted)
    assert f"with {axis} changed, in the mean over the other choices" in found.because
    if axis == "noise":
        assert "×7." in found.because or "+6" in found.because  # e^2 = 7.39


def test_a_main_effect_lowers_fid_unless_its_sign_says_otherwise():
    assert claims.read({"id": "x", "says": "s", "main_effect": "noise"}, "x").sign == "negative"


@pytest.mark.parametrize(
    ("fields", "axis", "says"),
    [
        (
            {"axes": THREE["axes"], "resolution": "III"},
            "metric",
            "tell metric from teacher x noise; resolution IV or full",
        ),
        (THREE, "nose", "main_effect: 'nose' is no axis of a factorial; did you mean 'noise'?"),
    ],
)
def test_a_main_effect_that_the_design_mixes_is_an_error_of_the_plan(tmp_path, fields, axis, says):
    with pytest.raises(SpecError) as error:
        plan(tmp_path, fields, {"id": "x", "says": "s", "main_effect": axis})
    assert says in error.value.problems[0]


def of_seeds(experiment, axes, effects):
    """FIDs in which the effect of the axes is what each seed says, beside little noise of the cells."""
    rng = np.random.default_rng(1)
    levels = [math.prod(row.levels[axis] for axis in axes) for row in experiment.rows]
    return {
        (i, 1): {"": {s: math.exp(3 + e / 2 * level + rng.normal() * 0.01) for s, e in enumerate(effects)}}
        for i, level in enumerate(levels)
    }


@pytest.mark.parametrize("fields", [THREE, {"axes": [*THREE["axes"], "weighting"], "resolution": "full"}])
@pytest.mark.parametrize(
    "entry", [{"main_effect": "metric", "sign": "any"}, {"interaction": ["metric", "teacher"]}]
)
@pytest.mark.parametrize(
    ("effects", "decided"),
    [
        ([-0.3, -0.3, -0.31], True),
        ([-0.6, -0.02, -0.1], False),  # the mean of three seeds is far from 0, but what of others?
        ([-0.2, 0.1, 0.2], False),
        ([-0.3], False),  # how it varies is not known
    ],
)
def test_an_effect_that_varies_from_seed_to_seed_is_not_decided_by_many_cells(
    tmp_path, fields, entry, effects, decided
):
    experiment = plan(tmp_path, fields)
    axes = entry.get("interaction") or [entry["main_effect"]]
    read = claims.read({"id": "x", "says": "s"} | entry, "claims[0]")
    found = read.test(experiment.rows, {}, of_seeds(experiment, axes, effects))
    assert (found.p < 0.05) == decided
    assert found.n == len(effects)


def test_a_claim_counts_the_seeds_of_the_recipe_that_has_fewest(tmp_path):
    experiment = plan(tmp_path, THREE)
    fids = table(experiment, 0.3)
    fids[2, 1][""].pop(1)
    found = claims.read(claim("metric", "teacher"), "claims[0]").test(experiment.rows, {}, fids)
    assert (found.n, found.effect.n) == (2, 2)
    assert found.support < 0.01
