from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.cli import call
from typer.testing import CliRunner

import ablate
from ablate.cli import app
from ablate.config.profile import Data, Profile
from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.doctor import gate
from ablate.doctor.bench import LARGEST, Bench, parameters
from ablate.doctor.examine import examine
from ablate.doctor.findings import with_verdicts
from ablate.doctor.function import inputs
from ablate.doctor.liveness import axes, fields
from ablate.doctor.training import averages, masks
from ablate.ingredients import (
    averaging,
    coupling,
    input_precond,
    metric,
    optimizer,
    sampling_precond,
    weighting,
)
from ablate.planning import planner
from ablate.runs.store import Store

PROFILE = Profile(name="tiny", data=Data(name="digits"), batch=4, images=4 * 64)
SMALL = {
    "network.width": 8,
    "network.multipliers": [1],
    "network.blocks": 1,
    "network.attention": [],
    "embedding.channels": 48,
}
NORMALIZED = {"name": "continuous", "tangent": "normalize"}
REPLAYS = {
    "D1": {"input_precond": "script"},
    "D2": {"parameterization": {"name": "script", "subtract_min": True}},
    "D3": {"parameterization": {"name": "script", "scale_out": True}},
    "D1-3": {"input_precond": "script", "sampling_precond": "scheduler"},
    "D4": {"dropout_sharing": "cpu_generator"},
    "D5": {"dropout_sharing": "separate"},
    "D7": {"precision.inputs": "float16"},
    "D8": {"input_precond": "none"},
    "D10": {"averaging": "swapped"},
    "D11": {"input_precond": "squared"},
    "D13": {"metric": "pseudo_huber_per_element"},
    "D14": {"levels": "karras_without_min"},
    "D15": {"network.divide_by_sigma": True},
    "D24": {"averaging": "power_inverted"},
    "D25": {"pairing": NORMALIZED, "metric": "squared_l2", "weighting": "doubled_prior"},
    "D26": {"pairing": {**NORMALIZED, "tangent": "rms"}, "metric": "squared_l2", "weighting": "learned"},
    "D29": {"sampling_precond": "ect"},
}
VALUES = {
    "D9": {"noise_precond": "none"},
    "D12": {"noise.p_mean": 1.1},
    "D22": {"metric.c": 0.00054 * 64},
}


def recipe(base="ict", **changes):
    return ablate.apply(ablate.load_recipe(base), {**SMALL, **changes}).for_images((1, 8, 8))


def found(tested):
    """Defect -> verdict of the checks that are not right."""
    return {r["defect"]: r["verdict"] for r in examine("r", tested, PROFILE) if not r["ok"]}


RECIPES = "ict", "ct", "edm", "ect", "ect_tuned", "sct", "sct_discrete", "cd", "scd", "tcm", "meanflow"


@pytest.mark.parametrize("base", RECIPES)
def test_the_recipes_are_clean(base):
    assert found(recipe(base)) == {}


@pytest.mark.parametrize(
    ("base", "changes", "seen"),
    [
        ("ict", {"input_precond.sigma_data": 0.6, "parameterization.sigma_data": 0.6}, "equal"),
        ("ict", {"parameterization.sigma_data": 0.6}, "input_precond 0.5, parameterization 0.6"),
        (
            "sct",
            {"noise_precond.sigma_data": 0.4},
            "noise_precond 0.4, input_precond 0.5, parameterization 0.5",
        ),
        ("ict", {"weighting": {"name": "karras", "sigma_data": 1.0}}, "weighting 1.0, input_precond 0.5"),
    ],
)
def test_axes_that_assume_other_standard_deviations_are_named(base, changes, seen):
    finding = list(inputs(Bench(recipe(base, **changes), PROFILE, (1, 8, 8))))[1]
    assert (finding.ok, finding.advice) == (seen == "equal", True)
    assert set(seen.split(", ")) <= set(finding.value.split(", "))


@pytest.mark.parametrize("defect", REPLAYS)
def test_a_replay_is_a_warning_by_name(defect):
    assert found(recipe(**REPLAYS[defect])) == dict.fromkeys(
        {defect} | ({"D1"} if "-" in defect else set()), "replay"
    )


@pytest.mark.parametrize("defect", VALUES)
def test_a_value_that_looks_like_a_defect_warns(defect):
    assert found(recipe(**VALUES[defect])) == {defect: "advice"}


@pytest.mark.parametrize(
    "changes",
    [
        {"noise": "uniform"},
        {"embedding.scale": 16.0},
        {"pairing": "ect", "metric": "l2"},
        {"pairing": "continuous", "metric": "squared_l2"},
        {"metric": "l1"},
        {"metric": "cauchy"},
        {"network": {"name": "ddpmpp", "width": 8, "blocks": 1}, "embedding": "positional"},
        {"averaging": "warmup", "schedule": {"name": "cosine", "warmup": 5}, "coupling": "minibatch_ot"},
        {"precision": "bf16", "optimizer": "adamw"},
        {"noise": "student_t"},
        pytest.param({"base": "tcm", "noise": "lognormal", "pairing.boundary": None}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_ordinary_choices_stop_nothing(changes):
    assert set(found(recipe(**changes)).values()) <= {"advice"}


@pytest.mark.parametrize(
    "changes",
    [
        {"base": "flow"},
        {"base": "flow", "metric": "cauchy", "pairing.start": 0.5},
        pytest.param({"base": "flow", "pairing": NORMALIZED, "weighting": "learned"}, marks=pytest.mark.slow),
        {"optimizer": "lion"},
        {"averaging": "power"},
        {"averaging": "warmup"},
        {"coupling": "minibatch_ot"},
        {"coupling": "generator"},
        {"pairing": NORMALIZED, "metric": "squared_l2", "weighting": "learned"},
        pytest.param(
            {"pairing": NORMALIZED, "metric": "squared_l2", "weighting": "karras"}, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_what_is_right_beside_a_later_defect_is_clean(changes):
    assert found(recipe(**changes)) == {}


def test_the_public_code_that_trains_with_0_and_evaluates_with_another_sigma_min_has_two_defects():
    trained = {"parameterization": {"name": "script", "scale_out": True}, "sampling_precond": "ect"}
    assert found(recipe(**trained)) == {"D3": "replay", "D29": "replay"}


@dataclass(frozen=True)
class Unscaled(input_precond.Cm):
    replays = ()

    def __call__(self, sigma):
        return self.sigma_data**0 * torch.ones_like(sigma)


@dataclass(frozen=True)
class PerElement(metric.PseudoHuberPerElement):
    replays = ()


@dataclass(frozen=True)
class Frozen(averaging.Constant):
    def update(self, average, weights, k):
        weights.lerp_(average, 1 - self(k))


@dataclass(frozen=True)
class Deaf(weighting.Uniform):
    strength: float = 1.0


@dataclass(frozen=True)
class NoWarmUp(optimizer.RAdam):
    momentum: float = 0.5


@dataclass(frozen=True)
class Forgetful(averaging.Power):
    def __call__(self, k):
        return 1 - super().__call__(k + 1)


@dataclass(frozen=True)
class OtherMinimum(sampling_precond.Ect):
    replays = ()


def altered(axis, option, **fields_):
    """The recipe with an option that is nobody's replay, registered for as long as it is built."""
    axes, name = ablate.AXES[axis], f"test_{option.__name__}"
    axes(name)(option)
    return recipe(**{axis: {"name": name, **fields_}})


@pytest.mark.parametrize(
    ("axis", "option", "defect"),
    [
        ("input_precond", Unscaled, "D8"),
        ("metric", PerElement, "D13"),
        ("averaging", Frozen, "D10"),
        ("weighting", Deaf, "D16"),
        ("optimizer", NoWarmUp, "D17"),
        ("sampling_precond", OtherMinimum, "D29"),
    ],
)
def test_a_defect_that_nobody_declares_is_a_failure_by_name(axis, option, defect):
    try:
        assert found(altered(axis, option))[defect] == "failed"
    finally:
        del ablate.AXES[axis].options[f"test_{option.__name__}"]


def test_an_average_of_your_own_that_forgets_ever_faster_warns():
    try:
        assert found(altered("averaging", Forgetful)) == {"D24": "advice"}
    finally:
        del ablate.AXES["averaging"].options["test_Forgetful"]


@pytest.mark.parametrize(
    ("defect", "axis", "read"),
    [("D16", "weighting", weighting.Uniform()), ("D28", "coupling", coupling.Independent())],
)
def test_an_axis_that_is_not_asked_is_dead(defect, axis, read):
    """A trainer that never reads the recipe's weighting, or its coupling."""
    bench = Bench(recipe(coupling="minibatch_ot"), PROFILE, (1, 8, 8))
    make = bench.trainer

    def deaf(tried):
        return make(dataclasses.replace(tried, **{axis: read}))

    bench.trainer = deaf
    assert [(f.value, f.defect, f.ok) for f in axes(bench)] == [(axis, defect, False)]


def test_a_curriculum_that_is_no_function_of_the_step_and_shared_noise_are_caught(monkeypatch):
    """Defects D6 and D20."""
    from ablate.doctor.training import ranks
    from ablate.ingredients.curriculum import Exponential
    from ablate.training.trainer import Trainer

    calls = iter(range(10**6))
    monkeypatch.setattr(Exponential, "__call__", lambda self, k, K: 11 + next(calls) % 7)
    draws = Trainer.draws
    monkeypatch.setattr(Trainer, "draws", lambda self, k: draws(self, 0))
    bad = [f.defect for f in ranks(Bench(recipe(), PROFILE, (1, 8, 8))) if not f.ok]
    assert bad == ["D6", "D20"]


def test_a_field_may_sleep_and_an_axis_be_spared():
    answer = {f.check: f for f in fields(Bench(recipe(parameterization="script"), PROFILE, (1, 8, 8)))}
    assert "asleep: parameterization.sigma_min" in answer["11 dead fields"].detail
    answer = {f.check: f for f in fields(Bench(recipe(pairing="ect"), PROFILE, (1, 8, 8)))}
    assert answer["11 dead fields"].ok
    assert "unread: levels.rho, curriculum.s0" in answer["11 dead fields"].detail


def test_an_overflow_of_half_precision_is_reported_and_stays_plain_data():
    rows = examine(
        "r", recipe(noise="uniform", **{"precision.inputs": "float16", "levels.sigma_max": 9e5}), PROFILE
    )
    assert {r["verdict"] for r in rows if r["check"].startswith("6")} == {"replay"}
    assert json.dumps(rows, allow_nan=False)


def test_an_average_with_a_slow_decay_still_moves():
    moved = next(averages(Bench(recipe(**{"averaging.decay": 0.99993}), PROFILE, (1, 8, 8))))
    assert moved.ok
    assert moved.value == pytest.approx(7e-5, rel=0.1)


def test_a_large_network_is_examined_small():
    bench = Bench(ablate.load_recipe("ict").for_images((3, 32, 32)), PROFILE, (3, 32, 32))
    assert parameters(bench.recipe, bench.shape) > LARGEST
    assert bench.shrunk
    assert "small network" in next(masks(bench)).detail


def test_a_check_that_cannot_be_made_is_an_error_and_names_no_defect():
    @dataclass(frozen=True)
    class Raising(metric.L2):
        def __call__(self, x, y):
            raise RuntimeError("no such kernel here")

    broken = dataclasses.replace(recipe(), metric=Raising())
    rows = [r for r in examine("r", broken, PROFILE) if r["check"] == "10 metric"]
    assert [(r["verdict"], r["defect"], r["ok"]) for r in rows] == [("error", None, False)]


def test_every_finding_is_plain_data():
    rows = examine("r", recipe(), PROFILE)
    assert {int(r["check"].split()[0]) for r in rows} == set(range(1, 13))
    assert all({"recipe", "check", "value", "bound", "ok", "defect"} <= set(r) for r in rows)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert with_verdicts("r", recipe(), []) == []


BROKEN = """
from dataclasses import dataclass
from types import SimpleNamespace
import torch
import ablate
@ablate.AXES['input_precond']('unscaled')
@dataclass(frozen=True)
class Unscaled:
    '''1.'''
    def __call__(self, sigma):
        return torch.ones_like(sigma)
"""


@pytest.fixture
def file(tmp_path):
    """An experiment of two recipes, one of which has a defect that nobody declared."""
    (tmp_path / "unscaled_option.py").write_text(BROKEN)
    rows = [{"label": "right"}, {"label": "wrong", "set": {"input_precond": "unscaled"}}]
    content = {"name": "two", "imports": ["unscaled_option"], "plan": [{"list": rows}], "set": SMALL}
    (tmp_path / "two.yaml").write_text(yaml_files.write(content))
    return tmp_path / "two.yaml"


@pytest.fixture(autouse=True)
def _plugins(monkeypatch):
    """Forget afterwards what an experiment imported."""
    monkeypatch.setattr(ablate.AXES["input_precond"], "options", dict(ablate.AXES["input_precond"].options))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("unscaled_option", None)


def test_doctor_prints_json_and_exits_with_1_where_a_recipe_fails(file):
    done = call("doctor", file.name, "--json", cwd=file.parent)
    rows = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    assert [(r["recipe"], r["defect"]) for r in rows if not r["ok"]] == [("wrong", "D8")]


@pytest.mark.parametrize(
    ("searched", "failing"),
    [
        ({"metric.c": {"low": 0.01, "high": 1.0}}, set()),
        ({"input_precond": ["cm", "unscaled"]}, {"input_precond='unscaled'"}),
        ({"optimizer.lr": {"low": 1e-4, "high": 1e-3}, "teacher": ["none", "adaptive"]}, set()),
    ],
)
def test_doctor_checks_a_study_at_the_ends_of_its_ranges(file, searched, failing):
    content = {"name": "search", "imports": ["unscaled_option"], "set": SMALL, "search": searched}
    (file.parent / "study.yaml").write_text(yaml_files.write(content))
    done = call("doctor", "study.yaml", "--json", cwd=file.parent)
    rows = json.loads(done.stdout)
    assert done.returncode == int(bool(failing)), done.stderr
    assert {r["recipe"] for r in rows if not r["ok"] and r["verdict"] == "failed"} == failing
    examined = {r["recipe"] for r in rows}
    assert "ict" in examined
    assert all(any(e.startswith(name) for e in examined) for name in searched)


@pytest.mark.parametrize(
    ("searched", "message"),
    [
        ({"metric.c": {"low": -1.0, "high": 1.0}}, "search.metric.c: -1.0"),
        ({"metrc.c": {"low": 0.1, "high": 1.0}}, "did you mean 'metric"),
        ({"teacher": ["none", "adaptve"]}, "did you mean 'adaptive'"),
    ],
)
def test_doctor_says_what_is_wrong_with_a_study(tmp_path, searched, message):
    (tmp_path / "study.yaml").write_text(yaml_files.write({"name": "search", "search": searched}))
    done = call("doctor", "study.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


def test_run_stops_at_a_failing_check(file):
    done = call("run", file.name, cwd=file.parent)
    assert done.returncode == 2
    assert "wrong: 3 input std" in done.stderr
    assert "this is D8" in done.stderr
    assert not list((file.parent / "runs").glob("*/config.json"))


class Reached(Exception):
    """The training would begin here."""


def test_run_trains_a_failing_recipe_when_asked_to(file, monkeypatch):
    def reach(*_):
        raise Reached

    monkeypatch.chdir(file.parent)
    live = contextlib.nullcontext(SimpleNamespace(follow=None, add=lambda *_: None))
    monkeypatch.setattr("ablate.tracking.live.Live", lambda *_: live)
    monkeypatch.setattr("ablate.execution.runner.run", reach)
    monkeypatch.setattr(gate, "_fork", lambda new: pytest.fail("examined"))
    result = CliRunner().invoke(app, ["run", file.name, "--no-doctor"])
    assert isinstance(result.exception, Reached)


def test_a_verdict_is_kept_and_a_finished_cell_is_not_examined(file, monkeypatch):
    experiment, store, said = planner.load(file), Store(file.parent / "runs"), []
    paths = {gate.verdict_path(store, c): c for c in experiment.cells.values()}
    for path, cell in paths.items():
        path.write_text(json.dumps(examine("", cell.recipe, PROFILE)))
    monkeypatch.setattr(gate, "_fork", lambda new: pytest.fail("examined again"))
    with pytest.raises(SpecError, match="wrong: 3 input std"):
        gate.admit(experiment, store, said.append)
    shutil.rmtree(store.cache)
    monkeypatch.setattr(Store, "record", lambda self, key: {"key": key, "state": "finished"})
    gate.admit(experiment, store, said.append)
    assert said == []


@pytest.mark.parametrize("how", ["error", "died"])
def test_run_stops_where_a_check_cannot_be_made_and_makes_it_again_the_next_time(file, how, monkeypatch):
    experiment, store, asked = planner.load(file), Store(file.parent / "runs"), []
    said = []
    row = {
        "recipe": "",
        "check": "10 metric",
        "value": "OSError: vgg.pt",
        "bound": "measurable",
        "axis": None,
    }
    row |= {"ok": False, "defect": None, "verdict": "error", "detail": ""}

    def fork(new):
        asked.append(len(new))
        for path in new:
            if len(asked) == 1:
                if how == "error":
                    Path(path).write_text(json.dumps([row]))
            else:
                Path(path).write_text("[]")
        return "it crashed"

    monkeypatch.setattr(gate, "_fork", fork)
    with pytest.raises(SpecError) as caught:
        gate.admit(experiment, store, said.append)
    said_why = ["ERROR", "ERROR"] if how == "error" else ["could not be examined: it crashed"]
    assert len(caught.value.problems) == len(said_why) + 1
    assert all(why in problem for why, problem in zip(said_why, caught.value.problems, strict=False))
    assert "nothing was trained" in caught.value.problems[-1]
    gate.admit(experiment, store, said.append)
    assert asked == [2, 2]
    assert said == ["checking 2 recipes"] * 2


def test_a_metric_of_ones_own_without_a_huber_constant_is_free_to_be_no_norm():
    @dataclass(frozen=True)
    class ScaledL1(metric.L2):
        def __call__(self, x, y):
            return 2 * (x - y).abs().flatten(1).sum(1)

    try:
        assert found(altered("metric", ScaledL1))["D13"] == "advice"
    finally:
        del ablate.AXES["metric"].options["test_ScaledL1"]
