"""Settings that a run is too short for are said by every command that plans, and never refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from helpers.cli import call

import ablate
from ablate.config.profile import Data, Evaluation, Profile
from ablate.core import yaml_files
from ablate.planning.too_short import fitting_decay, notes, unreached

BASE = {"averaging.decay": 0.5, "curriculum.s1": 80}


def profile(steps=100, every=None):
    evaluation = Evaluation(every=every)
    return Profile(name="tiny", data=Data(name="digits"), batch=16, images=16 * steps, evaluation=evaluation)


def recipe(**changes):
    return ablate.apply(ablate.apply(ablate.load_recipe("ict"), BASE), changes)


@pytest.mark.parametrize(
    ("changes", "budget", "setting", "advice"),
    [
        ({"averaging.decay": 0.99993}, profile(), "averaging.decay", "99% .* at most 0.954"),
        ({"averaging.decay": 1.0}, profile(20), "averaging.decay", "100% .* at most 0.79"),
        ({"averaging.decay": 0.99}, profile(312), "averaging.decay", "4% .* at most 0.985"),
        ({"averaging": {"name": "warmup", "start": 100}}, profile(), "averaging.start", "a copy .* 10 or so"),
        ({"schedule.warmup": 100}, profile(), "schedule.warmup", "still rises"),
        ({"schedule": {"name": "cosine", "warmup": 5000}}, profile(), "schedule.warmup", "still rises"),
        ({"curriculum.s1": 25}, profile(), "curriculum.s1", "20 intervals; set it to 20"),
        (
            {"curriculum": {"name": "square", "s1": 1000}},
            profile(10),
            "curriculum.s1",
            "811 intervals; set it to 811",
        ),
        ({"pairing": "ect"}, profile(7), "pairing.stages", "7 stages at most"),
        ({}, profile(every=15), "profile.evaluation.every", "every step evaluates"),
    ],
    ids=str,
)
def test_what_a_run_does_not_reach(changes, budget, setting, advice):
    (found,) = unreached(recipe(**changes), budget)
    assert found.setting == setting
    (note,) = notes([SimpleNamespace(recipe=recipe(**changes), label="a")], budget)
    assert note.startswith(f"{setting}={found.value:g}: ")
    assert all(part in note for part in advice.split(" .* "))


@pytest.mark.parametrize(
    ("changes", "budget"),
    [
        ({}, profile()),
        ({"averaging.decay": fitting_decay(100)}, profile()),
        ({"averaging": {"name": "swapped", "decay": 0.5}}, profile()),  # D10, which doctor names
        ({"averaging": "power"}, profile(7)),
        ({"schedule.warmup": 99}, profile()),
        ({"curriculum": "linear"}, profile(20)),
        ({"curriculum.s1": 40}, profile(20)),
        (
            {"pairing": "continuous", "metric": "squared_l2", "curriculum.s1": 25},
            profile(),
        ),  # uses no curriculum
        ({}, profile(every=16)),
    ],
    ids=str,
)
def test_what_it_reaches_is_not_said(changes, budget):
    assert list(unreached(recipe(**changes), budget)) == []


@pytest.mark.parametrize("steps", [1, 2, 20, 312, 60_000, 10**7])
def test_the_decay_that_fits_leaves_at_most_1_percent_but_not_much_less(steps):
    assert 0.005 < fitting_decay(steps) ** steps <= 0.01 + 1e-9


def test_a_note_names_its_rows_unless_it_is_about_all():
    kept, fast = recipe(**{"averaging.decay": 0.9999}), recipe()
    rows = [SimpleNamespace(label=label, recipe=kept) for label in "abc"]
    assert notes(rows, profile())[0].startswith("averaging.decay=0.9999: after 100 steps")
    rows.append(SimpleNamespace(label="d", recipe=fast))
    assert notes(rows, profile())[0].startswith("row 'a' and 2 others: averaging.decay=0.9999: ")


def test_run_study_and_doctor_say_it(tmp_path, monkeypatch):
    monkeypatch.setattr("ablate.doctor.examine.CHECKS", {})  # they take seconds, and are not asked here
    small = {"profile.images": 320, "averaging.decay": 0.999}
    words = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    plan = {"name": "one", "plan": [{"list": [{"label": "ict"}]}]}
    (tmp_path / "one.yaml").write_text(yaml_files.write(plan))
    search = {"name": "two", "search": {"optimizer.lr": {"low": 1e-4, "high": 1e-2}}}
    (tmp_path / "two.yaml").write_text(yaml_files.write(search))
    held = "after 20 steps 98% of the averaged weights are the initial ones; set it to at most"
    for arguments in (("run", "one.yaml"), ("study", "two.yaml")):
        done = call(*arguments, *words, "--dry-run", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count(f"note: averaging.decay=0.999: {held}") == 1
    done = call("doctor", "one.yaml", *words, "--json", cwd=tmp_path)
    (found,) = (
        row for row in json.loads(done.stdout) if row["check"] == "length of the run: averaging.decay"
    )
    assert (done.returncode, found["verdict"], found["value"]) == (0, "advice", "0.999")
