"""Anything in any place: 2,000 commands with random text in files, `--set`, file names and the environment.

`make fuzz` runs it. A command ends with exit code 0, 1 or 2, without a traceback, and says each mistake in one line.
What it plans is what was typed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
from unittest import mock

import pytest
from helpers.cli import call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.config import recipe as recipes
from ablate.config.profile import Data, Evaluation, Profile
from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.planning import planner
from ablate.planning.planner import File
from ablate.study.plan import StudyFile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

FILES = {
    "experiment": {"name": "one", "profile": "own.yaml", "plan": [{"list": [{"label": "ict"}]}]},
    "profile": {
        "name": "own",
        "data": {"name": "digits", "holdout": 100},
        "batch": 16,
        "images": 320,
        "evaluation": {"samples": 64},
    },
    "study": {
        "name": "two",
        "profile": "own.yaml",
        "search": {"metric.c": {"low": 0.01, "high": 0.1}},
        "trials": 2,
    },
}
RECIPE = [*recipes.build(recipes.read_specs("ict")).flat()]
SECTIONS = {"data": Data, "evaluation": Evaluation}
FIELDS = [(f,) for f in Profile.model_fields] + [(s, f) for s, m in SECTIONS.items() for f in m.model_fields]
PLACES = (
    [("experiment", (f,)) for f in File.model_fields]
    + [("experiment", ("plan", 0, k)) for k in ("list", "grid", "zip", "leave_one_out", "ladder", "priority")]
    + [("experiment", ("plan", 0, "list", 0, k)) for k in ("label", "set", "base")]
    + [("experiment", ("set", f)) for f in RECIPE]
    + [("profile", f) for f in FIELDS]
    + [("profile", ("adapt", f)) for f in ("metric.c", "averaging.decay", "network", "x")]
    + [("study", (f,)) for f in StudyFile.model_fields]
    + [("study", ("search", "metric.c", k)) for k in ("low", "high", "step", "log")]
    + [("study", (s, k)) for s in ("sampler", "pruner") for k in ("name", "n_startup_trials", "seed")]
)
VARIABLES = [
    "HOME",
    "TMPDIR",
    "COLUMNS",
    "LINES",
    "TERM",
    "NO_COLOR",
    "FORCE_COLOR",
    "LANG",
    "LC_ALL",
    "MPLBACKEND",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "SLURM_JOB_ID",
    "SLURM_CPUS_PER_TASK",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_EXPERIMENT_ID",
    "ABLATE_INCEPTION_WEIGHTS",
    "TORCH_HOME",
]
LETTERS = "ab01_.:-+eExo~#[]{}'\"& *!|>%@<\\$`/?=,é日\u202e\U0001f600\udcff"
WORDS = st.text(max_size=12) | st.text(LETTERS, max_size=10) | st.floats().map(str) | st.integers().map(str)
WORDS = WORDS.map(lambda word: word.replace("\0", ""))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(RECIPE) | WORDS, inner, max_size=3)
    ),
    max_leaves=5,
)
NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|0x[0-9a-fA-F]+|0o[0-7]+", re.ASCII)


def often(examples):
    """As many random examples of a test that pays for its folder once."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def write(place, changed="", path=(), value=None):
    """The three files, with `value` at `path` of one."""
    for name, content in FILES.items():
        data = json.loads(json.dumps(content))
        if name == changed:
            holder = data
            for key, after in itertools.pairwise(path):
                if isinstance(holder, dict) and not isinstance(holder.get(key), dict | list):
                    holder[key] = [] if isinstance(after, int) else {}
                holder = holder[key]
            if path[:2] == ("plan", 0) and len(path) == 3 and path[2] != "priority":
                holder.clear()
            holder[path[-1]] = value
        file = place / {"experiment": "one.yaml", "profile": "own.yaml", "study": "two.yaml"}[name]
        file.write_bytes(yaml_files.write(data).encode("utf-8", "surrogatepass"))


def said(*arguments, place):
    """A command that ends as it must; its output, or None if it refused."""
    done = call(*arguments, cwd=place)
    lines = done.stderr.splitlines()
    assert done.returncode in (0, 1, 2), done
    assert "Traceback" not in done.stderr + done.stdout, done
    if done.returncode == 2:
        usage = lines and lines[0].startswith("Usage:")  # typer's frame, for what only it can refuse
        assert lines, done
        assert usage or all(line.startswith(("error: ", "note: ")) for line in lines), done
        assert len(lines) == len(dict.fromkeys(lines)), done
    assert done.returncode != 1 or len([line for line in lines if line.startswith("error: ")]) == 1, done
    return None if done.returncode else done.stdout


def planned(output):
    """What `--dry-run --json` planned."""
    return json.loads(output[output.index("{") :])


def as_typed(shown, typed):
    """Whether a planned value is what was typed; `typed` is a word of the command line, or a value of a file."""
    if isinstance(shown, tuple | list):
        given = yaml_files.parse(typed) if isinstance(typed, str) else typed
        return len(given) == len(shown) and all(map(as_typed, shown, given))
    if typed is None:  # a field that takes nothing may stand for a value that the images decide
        return True
    if isinstance(typed, str):
        if isinstance(shown, str):
            return shown == typed or (typed.strip()[:1] in ("'", '"') and shown in typed)
        if shown is None or isinstance(shown, bool):
            return typed.strip().lower() in {None: ("null", "~"), True: ("true",), False: ("false",)}[shown]
        word = typed.strip()
        if not NUMBER.fullmatch(word):
            return False
        return shown == (int(word, 0) if word[:2] in ("0x", "0o") else float(word))
    if isinstance(shown, str):
        return shown == yaml_files.write(typed).removesuffix("\n...\n").strip()
    return shown == typed or (isinstance(shown, float) and math.isclose(shown, typed))


def check(place, kind, path, typed, *more):
    """Plan the file in which, or for which, something was typed, and look for it in what is planned."""
    output = said(
        *(("study", "two.yaml") if kind == "study" else ("run", "one.yaml", "--json")),
        *("--dry-run", "--no-doctor", *more),
        place=place,
    )
    if output is None or kind == "study":
        return
    found = planned(output)
    if path[0] == "name" and kind == "experiment":
        assert as_typed(found["name"], typed)
    if kind == "experiment" and path[-1] == "label" and typed is not None:
        assert as_typed(found["rows"][0]["row"], typed)
    if kind == "experiment" and path[0] == "set" and len(path) == 2 and not isinstance(typed, dict):
        assert as_typed(found["rows"][0]["recipe"][path[1]], typed)


def profile_field(place, path, typed, overrides=None):
    """Whether the planned profile has what was typed in a field of its."""
    try:
        value = planner.load(place / "one.yaml", overrides=overrides).profile
    except SpecError:
        return
    for name in path:
        value = value.get(name) if isinstance(value, dict) else getattr(value, name)
    if not isinstance(value, dict | Data | Evaluation):
        assert as_typed(value, typed)


@often(900)
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_of_any_key_of_a_file(place, where, value):
    kind, path = where
    write(place, kind, path, value)
    check(place, kind, path, value)
    if kind == "profile":
        profile_field(place, path, value)


SETTINGS = [("experiment", ("set", f)) for f in RECIPE] + [("profile", f) for f in FIELDS]
SETTINGS += [("study", (f,)) for f in ("trials", "objective", "rungs", "sampler", "pruner")]


@often(500)
@given(st.sampled_from(SETTINGS), WORDS)
def test_any_word_of_any_setting(place, where, word):
    kind, path = where
    write(place)
    key = ".".join(path[1:] if kind == "experiment" else ["profile", *path] if kind == "profile" else path)
    check(place, kind, path, word, "--set", f"{key}={word}")
    if kind == "profile":
        profile_field(place, path, word, {key: yaml_files.typed(word)})


@often(100)
@given(WORDS)
def test_any_word_as_a_setting(place, word):
    write(place)
    said("run", "one.yaml", "--dry-run", "--no-doctor", f"--set={word}", place=place)


@often(200)
@given(st.sampled_from(["one.yaml", "own.yaml", "two.yaml"]), st.data())
def test_any_bytes_anywhere_in_a_file(place, name, data):
    write(place)
    content = (place / name).read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 20)))
    new = data.draw(st.binary(max_size=12) | WORDS.map(lambda w: w.encode("utf-8", "surrogatepass")))
    (place / name).write_bytes(content[:start] + new + content[end:])
    said(*(("study", name) if name == "two.yaml" else ("run", "one.yaml")), "--dry-run", place=place)


@often(100)
@given(st.text(max_size=300) | st.text(LETTERS, min_size=1, max_size=20), st.booleans())
def test_any_name_of_a_file(place, name, exists):
    write(place)
    name = name.replace("\0", "")
    made = None
    with contextlib.suppress(OSError, UnicodeEncodeError):
        if exists and "/" not in name and not name.startswith("~") and not (place / name).exists():
            made = place / name
            made.write_bytes((place / "one.yaml").read_bytes())
    try:
        output = said("run", "--dry-run", "--json", "--no-doctor", "--", name, place=place)
        assert made is None or (output and planned(output)["name"] == "one")
        for option in ("--profile", "--runs-dir", "--reports-dir"):
            said("run", "one.yaml", "--dry-run", "--no-doctor", f"{option}={name}", place=place)
    finally:
        if made:
            made.unlink(missing_ok=True)


@often(200)
@given(st.dictionaries(st.sampled_from(VARIABLES), WORDS, min_size=1, max_size=4))
def test_any_environment(place, variables):
    write(place)
    with contextlib.suppress(UnicodeEncodeError), mock.patch.dict(os.environ, variables):
        for command in (("run", "one.yaml", "--dry-run"), ("status", "one.yaml", "--once")):
            assert said(*command, place=place) is not None
