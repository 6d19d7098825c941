"""A formula outside its domain is one line of every command that plans, before anything is computed."""

from __future__ import annotations

import pytest
from helpers.cli import call

from ablate.core import yaml_files

ICT = {"name": "one", "plan": [{"list": [{"label": "ict"}]}]}
SEARCH = {"name": "one", "search": {"optimizer.lr": {"low": 1e-4, "high": 1e-2}}}


@pytest.mark.parametrize("command", ["run", "run --dry-run", "doctor", "study", "study --dry-run"])
def test_every_command_refuses_it_alike(tmp_path, command):
    name, *rest = command.split()
    (tmp_path / "one.yaml").write_text(yaml_files.write(SEARCH if name == "study" else ICT))
    done = call(name, "one.yaml", "--set", "noise.p_mean=5", "--set", "noise.p_std=0.01", *rest, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "ln sigma of the levels, -6.21 to 4.38, must be within 37 p_std of p_mean" in done.stderr
    assert "p_mean=5.0, p_std=0.01" in done.stderr
    assert not list((tmp_path / "runs").glob("*/metrics.jsonl"))


@pytest.mark.parametrize(
    ("values", "law"),
    [
        (["noise.p_mean=-20.0", "noise.p_std=0.1"], "p_mean=-20.0, p_std=0.1"),
        (["pairing=continuous", "noise.p_mean=9.0", "noise.p_std=0.01"], "p_mean=9.0, p_std=0.01"),
        (["levels.sigma_max=0.0020001"], "sigma_max >= 1.001 sigma_min"),
        (["levels.rho=0.2"], "greater than or equal to 0.5"),
        (["pairing={name: ect, q: 1000.0, stages: 9}"], "q^stages <= 2^23"),
        (["profile.evaluation.sigma_mid=[0.5, 0.8]"], "[0.5, 0.8]: levels must descend"),
        (["profile.evaluation.sigma_mid=[90.0]"], "at most sigma_max=80.0"),
        (["profile.evaluation.sigma_mid=[0.002]"], "above sigma_min=0.002"),
    ],
    ids=str,
)
def test_what_is_refused(tmp_path, values, law):
    (tmp_path / "one.yaml").write_text(yaml_files.write(ICT))
    words = [word for value in values for word in ("--set", value)]
    done = call("run", "one.yaml", "--dry-run", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert law in done.stderr


@pytest.mark.parametrize(
    "value",
    [
        "curriculum={name: sqrt, s0: 1, s1: 150}",
        "noise.p_mean=5.0",
        "profile.evaluation.sigma_mid=[80.0, 2.0, 2.0]",
    ],
)
def test_what_is_not(tmp_path, value):
    (tmp_path / "one.yaml").write_text(yaml_files.write(ICT))
    done = call("run", "one.yaml", "--dry-run", "--set", value, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
