"""Two noise levels where a file is planned: what does not fit together is one line, and needed cells have them too."""

from __future__ import annotations

import json

import pytest
from helpers.cli import call

from ablate.planning import planner

HEAD = "name: levels\nprofile: digits\nseeds: [0]\nbase: meanflow\n"


def listed(spec, base="meanflow"):
    return f"{HEAD}plan:\n  - list: [{{label: mine, base: {base}, set: {json.dumps(spec)}}}]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            listed({"network.second_level": None}),
            "mean_flow: needs a network with a second level; set network.second_level",
        ),
        (listed({"pairing": "shortcut"}, "ict"), "pairing: shortcut: needs a network with a second level"),
        (listed({"network": "unet2d"}), "(ncsnpp, ddpmpp, adm have this field)"),
        (
            listed({"pairing": "grid"}),
            "network.second_level: 'gap': pairing grid never varies the second level",
        ),
        (
            listed({"network.second_level": "gapp"}),
            "network.second_level: 'gapp': input should be 'gap' or 'end'",
        ),
        (listed({"pairing.share": 1.5}), "pairing.share: 1.5: input should be less than or equal to 1"),
        (listed({"pairing.sahre": 0.5}), "pairing.sahre: mean_flow has no such field; did you mean 'share'?"),
        (
            listed({"pairing": "lagrangian"}, "ict"),
            "pairing: lagrangian: needs a network with a second level",
        ),
        (
            listed({"pairing": "lagrangian", "network.checkpointing": True}),
            "network.checkpointing: true: pairing lagrangian differentiates the network forwards",
        ),
        (listed({"pairing": "lagrangain"}), "no option 'lagrangain'; did you mean 'lagrangian'?"),
        (
            listed({"pairing": {"name": "shortcut", "split": "unifrom"}}),
            "pairing.split: 'unifrom': input should be 'middle' or 'uniform'",
        ),
        (
            listed({"init_from": {"name": "recipe", "recipe": "ict"}}),
            "init_from.recipe: 'ict': network.second_level: 'gap'",
        ),
    ],
)
def test_what_does_not_fit_is_one_line_before_anything_is_computed(text, said, tmp_path):
    (tmp_path / "levels.yaml").write_text(text)
    for words in (("run", "--dry-run"), ("doctor",), ("run",)):
        done = call(words[0], "levels.yaml", *words[1:], cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert said in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "rest",
    [
        "set: {network.second_level: end}\nsearch: {pairing.skip_steps: [1, 2]}",
        "search: {network.second_level: [null, gap]}",
    ],
)
def test_a_study_says_so_too(rest, tmp_path):
    (tmp_path / "s.yaml").write_text(f"name: s\nprofile: digits\nseeds: [0]\nbase: ict\n{rest}\ntrials: 2\n")
    done = call("study", "s.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "pairing grid never varies the second level" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("axis", ["direction", "init_from"])
def test_a_denoiser_that_a_row_needs_takes_the_second_level(axis, tmp_path):
    spec = {"name": "network" if axis == "direction" else "recipe", "recipe": "edm", "share": 0.5}
    (tmp_path / "levels.yaml").write_text(listed({axis: spec}))
    found = planner.load(tmp_path / "levels.yaml")
    (cell,) = found.cells.values()
    (need,) = cell.needs.values()
    assert need.recipe.network == cell.recipe.network
    assert need.recipe.network.second_level == "gap"
    assert need.recipe.pairing.name == "denoising"


def test_the_fields_leave_the_keys_of_other_rows_alone(tmp_path):
    (tmp_path / "levels.yaml").write_text(
        f"{HEAD}plan:\n  - list: [{{label: a, base: ict}}, {{label: b, base: flow}}, {{label: c}},"
        " {label: d, set: {pairing: shortcut}}, {label: e, set: {pairing: {name: shortcut, split: uniform}}}]\n"
    )
    rows = [row.recipe.keyed() for row in planner.load(tmp_path / "levels.yaml").rows]
    new = ("network.second_level", "pairing.share", "pairing.end_mean", "pairing.end_std", "pairing.split")
    assert [[f for f in new if f in row] for row in rows] == [[], [], list(new[:4]), list(new[:4]), list(new)]


@pytest.mark.parametrize("command", [("run", "--dry-run"), ("run",), ("doctor",)])
def test_a_derivative_of_the_student_is_not_compiled(command, tmp_path):
    (tmp_path / "levels.yaml").write_text(listed({"pairing": "lagrangian"}))
    done = call(command[0], "levels.yaml", *command[1:], "--set", "profile.compile=true", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "profile.compile: true: pairing lagrangian differentiates the network forwards" in done.stderr
    assert not (tmp_path / "runs").exists()
