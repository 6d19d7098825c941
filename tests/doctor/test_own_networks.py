"""What the checks find in networks of one's own, and what is refused before anything is computed."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from helpers import own_networks
from helpers.cli import call

import ablate
from ablate.config.profile import Data, Profile
from ablate.core.errors import SpecError
from ablate.doctor.bench import Bench
from ablate.doctor.training import averages, masks
from ablate.ingredients import averaging

PROFILE = Profile(name="tiny", data=Data(name="digits"), batch=4, images=4 * 64)


def bench(name, arguments=None, **changes):
    changes = {"network": own_networks.spec(name, arguments), **changes}
    return Bench(ablate.apply(ablate.load_recipe("ict"), changes).for_images((1, 8, 8)), PROFILE, (1, 8, 8))


def seen(check, *of, **changes):
    """The values of a check's findings, and the number and words of those that are not ok."""
    found = list(check(bench(*of, **changes)))
    return {f.check[2:]: f.value for f in found}, {f.check[2:]: f.advice for f in found if not f.ok}


EQUAL, AGREE = "equal passes in training, relative gap", "dropout masks that agree"


@pytest.mark.parametrize("name", ["Net", "Normed", "Replaced", "Spectral", "Counting"])
def test_state_that_a_pass_changes_is_no_dropout(name):
    values, bad = seen(masks, name)
    assert (values, bad) == ({EQUAL: pytest.approx(0, abs=1e-4), AGREE: "no dropout"}, {})


@pytest.mark.parametrize("arguments", [{}, {"p": 0.05}, {"p": 0.9}])
@pytest.mark.parametrize("teacher", ["none", "fixed"])
def test_an_own_dropout_is_found_without_a_field_and_is_shared(arguments, teacher):
    values, bad = seen(masks, "Dropped", arguments, teacher=teacher)
    assert values[AGREE] == 1
    assert not bad
    assert seen(masks, "Dropped", arguments, teacher=teacher, dropout_sharing="separate")[0][AGREE] < 1
    assert seen(masks, "Dropped", {"p": 0.0})[0][AGREE] == "no dropout"


@pytest.mark.parametrize("name", ["Functional", "Attending", "Skipping"])
def test_random_numbers_that_the_seed_does_not_decide_fail_in_one_line(name):
    values, bad = seen(masks, name)
    assert values[EQUAL] > 1e-3
    assert values[AGREE] == "no nn.Dropout"
    assert bad == {EQUAL: False}


def test_a_dropout_in_two_places_of_a_pass_is_advice_and_under_two_names_is_two():
    values, bad = seen(masks, "Twice")
    assert values[AGREE] == 1
    assert values["dropouts called twice in a pass"] == "between"
    assert bad == {"dropouts called twice in a pass": True}
    assert not seen(masks, "Tied")[1]


BUFFERS = "buffers that the average or a checkpoint lacks"


@pytest.mark.parametrize("teacher", ["none", "fixed"])
@pytest.mark.parametrize("name", ["Normed", "Replaced", "Spectral", "Counting", "Frozen"])
def test_an_average_that_follows_is_clean(name, teacher):
    values, bad = seen(averages, name, teacher=teacher)
    assert values[BUFFERS] == "none"
    assert not bad


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("Normed", "between.running_mean, between.running_var, between.num_batches_tracked"),
        ("Replaced", "mean"),
        ("Counting", "seen"),
    ],
)
def test_an_average_whose_buffers_stay_behind_fails_by_their_names(name, left, monkeypatch):
    monkeypatch.setattr("ablate.training.trainer.copy_state", lambda student, network: None)
    values, bad = seen(averages, name)
    assert values[BUFFERS] == left
    assert bad == {BUFFERS: False}


def test_a_buffer_that_no_checkpoint_has_fails_by_its_name():
    assert seen(averages, "Counting", {"persistent": False})[0][BUFFERS] == "seen"


@dataclass(frozen=True)
class Still(averaging.Constant):
    def update(self, average, weights, k):
        """Nothing."""


def test_frozen_parameters_do_not_hide_an_average_that_stands_still():
    ablate.AXES["averaging"]("test_still")(Still)
    try:
        values, _ = seen(averages, "Frozen", averaging="test_still")
    finally:
        del ablate.AXES["averaging"].options["test_still"]
    assert values["step of the average / distance to the model"] == 0


OTHERS = ["Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]


@pytest.mark.parametrize("kind", OTHERS)
def test_other_dropouts_are_refused_by_name_unless_they_drop_nothing(kind):
    with pytest.raises(
        SpecError, match=rf"^network\.path: .*:Dropped: between\.1: {kind}\(p=0\.3.*use nn\.Dropout"
    ):
        own_network("Dropped", {"kind": kind})
    assert own_network("Dropped", {"kind": kind, "p": 0.0})


def test_a_dropout_that_keeps_nothing_is_refused():
    with pytest.raises(SpecError, match=r"between\.1: Dropout\(p=1\.0.*p < 1$"):
        own_network("Dropped", {"p": 1.0})


def own_network(*of):
    return ablate.build("network", own_networks.spec(*of))((1, 8, 8))


FILE = """
name: own
profile: digits
seeds: [0]
plan:
  - list: [{label: mine, set: {network: {name: module, path: "helpers.own_networks:%s", arguments: %s}}}]
"""
REFUSED = {
    "between.1: Dropout2d(p=0.3, inplace=False): student": ("Dropped", {"kind": "Dropout2d"}),
    "between.1: AlphaDropout(p=0.5, inplace=False): student": ("Dropped", {"kind": "AlphaDropout", "p": 0.5}),
    "must have a parameter with requires_grad=True": (
        "Frozen",
        {"parts": ["level", "first", "between", "last"]},
    ),
}


@pytest.mark.parametrize("words", [("run", "--no-doctor"), ("run", "--dry-run"), ("doctor",)], ids=" ".join)
@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_trained_ends_every_command_before_it_computes(message, words, tmp_path):
    name, arguments = REFUSED[message]
    (tmp_path / "own.yaml").write_text(FILE % (name, json.dumps(arguments)))
    done = call(words[0], "own.yaml", *words[1:], cwd=tmp_path)
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if "network.path" in line]
    assert "mine" in line
    assert f"network.path: helpers.own_networks:{name}: {message}" in line
    assert done.returncode == (1 if words == ("doctor",) else 2)
    assert not [*tmp_path.glob("runs/*/record.json")]
