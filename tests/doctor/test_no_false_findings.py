"""Fields that only sleep, gradients of any size and close noise levels are no defects."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest

import ablate
from ablate.config.profile import Data, Profile
from ablate.core.registry import depends_on
from ablate.doctor.bench import Bench
from ablate.doctor.liveness import _asleep, _outcomes, _state, _states
from ablate.doctor.loss import embedding
from ablate.ingredients import weighting

PROFILE = Profile(name="tiny", data=Data(name="digits"), batch=4, images=4 * 64)
SMALL = {
    "network.width": 8,
    "network.multipliers": [1],
    "network.blocks": 1,
    "network.attention": [],
    "embedding.channels": 16,
}
D9 = {"noise_precond": "none", "embedding": {"name": "fourier", "scale": 0.02}}


def bench(base="ict", **changes):
    changed = ablate.apply(ablate.load_recipe(base), {**SMALL, **changes})
    return Bench(changed.for_images((1, 8, 8)), PROFILE, (1, 8, 8))


def states(tested, axis, *fields):
    """Field -> its state, for some fields of an ingredient."""
    outcome = _outcomes(tested, axis)
    found = {field: _state(tested, axis, field, outcome) for field in fields}
    dead = [field for field, state in found.items() if state == "dead"]
    return found | dict.fromkeys(_asleep(tested, axis, dead, outcome), "asleep")


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"base": "ect"}, "asleep"),
        ({"base": "ict", "pairing": {"name": "ect", "boundary": 0.2}, "teacher": "adaptive"}, "asleep"),
        ({"base": "tcm"}, "alive"),
    ],
    ids=str,
)
def test_a_field_that_needs_another_option_and_another_field_is_asleep(changes, state):
    """`boundary` counts the images at the level of a teacher, which `boundary_share` puts there."""
    found = states(bench(**changes), "pairing", "boundary_share", "boundary")
    assert found == dict.fromkeys(("boundary_share", "boundary"), state)


@dataclass(frozen=True)
class Waiting(weighting.Uniform):
    """Reads `strength` only beside the noise `uniform`, and `deaf` never."""

    strength: float = 1.0
    deaf: float = 1.0
    noise: Any = depends_on("noise")

    def __call__(self, sigma_teacher, sigma_student):
        weight = super().__call__(sigma_teacher, sigma_student)
        return weight * self.strength if self.noise.name == "uniform" else weight


@pytest.mark.parametrize(("noise", "state"), [("lognormal", "asleep"), ("uniform", "alive")])
def test_an_option_of_your_own_may_wait_for_another_but_not_for_nothing(noise, state, monkeypatch):
    monkeypatch.setattr(ablate.AXES["weighting"], "options", dict(ablate.AXES["weighting"].options))
    ablate.AXES["weighting"]("waiting")(Waiting)
    tested = bench(weighting="waiting", noise=noise)
    assert states(tested, "weighting", "strength", "deaf") == {"strength": state, "deaf": "dead"}


def test_an_ingredient_that_others_use_is_examined_in_every_recipe():
    first, second = (bench("ect", noise="student_t", **{"pairing.t_from": t}) for t in ("own", "noise"))
    assert _states(first, "noise")["df"] == "dead"
    assert _states(second, "noise")["df"] == "alive"


@pytest.mark.parametrize("clip", [None, 1.0, 1e12])
@pytest.mark.parametrize(
    ("optimizer", "size"),
    [("radam", 1e-7), ("radam", 1.0), ("adam", 1e-7), ("adam", 1e9), ("lion", 1.0), ("lion", 1e9)],
)
def test_a_bound_of_the_gradient_is_alive_whatever_its_size(size, clip, optimizer):
    @dataclass(frozen=True)
    class Sized(weighting.Uniform):
        def __call__(self, sigma_teacher, sigma_student):
            return size * super().__call__(sigma_teacher, sigma_student)

    tested = bench(optimizer={"name": optimizer, "clip": clip})
    tested.recipe = dataclasses.replace(tested.recipe, weighting=Sized())
    assert states(tested, "optimizer", "clip") == {"clip": "alive"}


@pytest.mark.parametrize(
    "changes",
    [
        {"noise.p_std": 0.2},
        {"noise": {"name": "student_t", "df": 0.01, "scale": 0.01, "low": 0.5}},
        {"base": "flow", "noise.p_std": 0.3},
        {"base": "tcm", "teacher.level": 0.5},
        {"base": "tcm", "noise": "lognormal"},
        {"base": "tcm", "noise": "lognormal", **D9},
    ],
    ids=str,
)
def test_levels_that_are_close_or_another_networks_are_no_defect_of_the_embedding(changes):
    (found,) = embedding(bench(**changes))
    assert found.ok


@pytest.mark.parametrize(
    "changes",
    [
        {"noise": "uniform"},
        {"base": "edm", "pairing.p_mean": -4.0, "pairing.p_std": 0.1},
        {"base": "tcm", "noise": "lognormal", "teacher.level": 0.01},
    ],
    ids=str,
)
def test_an_embedding_that_tells_low_levels_apart_too_little_is_found_in_any_distribution(changes):
    (found,) = embedding(bench(**{**changes, **D9}))
    assert (found.ok, found.defect) == (False, "D9")
