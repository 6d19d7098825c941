"""The schema that editors read, and the files that name it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from ablate.core import yaml_files
from ablate.planning.schema import schema

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES = [f for f in sorted(EXPERIMENTS.glob("*.yaml")) if "plan" in yaml_files.read(f)]


def test_the_shipped_schema_is_the_commands():
    command = [sys.executable, "-m", "ablate", "schema"]  # a process of its own: tests add options of theirs
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (EXPERIMENTS / "schema.json").read_text() == done.stdout
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_shipped_files_are_valid_and_name_it(file):
    assert file.read_text().startswith("# yaml-language-server: $schema=schema.json\n")
    jsonschema.validate(yaml_files.read(file), schema())


@pytest.mark.parametrize(
    "wrong",
    [
        {"plan": [{"list": [{"lable": "a"}]}]},
        {"plan": [{"gird": {}}]},
        {"plan": [{"list": []}], "claims": [{"id": "x"}]},
        {"plan": [{"list": []}], "claims": [{"id": "x", "says": "s"}]},
        {"plan": [{"list": []}], "claims": [{"id": "x", "says": "s", "better": {}}]},
        {"plan": [{"list": []}], "claims": [{"id": "x", "says": "s", "valley": "metric.c", "ratio": 2.0}]},
        {"plan": [{"list": []}], "sedes": [0]},
        {"plan": []},
    ],
)
def test_mistakes_are_seen(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "x", **wrong}, schema())


def test_imports_may_define_more_kinds_of_claims():
    file = {"name": "x", "plan": [{"list": []}], "claims": [{"id": "x", "says": "s", "equal": ["a", "b"]}]}
    jsonschema.validate({**file, "imports": ["equal"]}, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(file, schema())
