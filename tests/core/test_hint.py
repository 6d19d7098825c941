"""Commands in messages can be copied: they parse, and mean the cells of the command that printed them."""

from __future__ import annotations

import json
import re
import shlex
import sys

import pytest
from helpers.cli import call

from ablate.core import hint

pytestmark = pytest.mark.usefixtures("two_figures")

STUDY = """
name: searched
search: {metric.c: {low: 0.01, high: 0.1}}
trials: 3
set: {network.width: 8, network.attention: []}
"""
TYPED = [
    [],
    ["--set", "network.width=16"],
    ["--set=network.dropout=0.1", "--profile", "digits", "--seeds", "3,4"],
    ["--trials", "5", "--set", "noise.p_mean=-1.0", "--set", "averaging.decay=0.9"],
    ["--runs-dir", "my runs", "--reports-dir=my reports"],
]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "my study.yaml").write_text(STUDY)
    return tmp_path


def commands(text):
    return [shlex.split(words)[1:] for words in re.findall(r"`(ablate [^`]*)`", text)]


def identity(words, place):
    """What a study's command line computes."""
    done = call(*words, "--dry-run", "--json", "--no-doctor", cwd=place)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("typed", TYPED, ids=" ".join)
def test_the_hint_to_start_a_study_means_the_same_study(typed, place):
    done = call("report", "my study.yaml", *typed, cwd=place)
    assert done.returncode == 2
    (words,) = commands(done.stderr)
    assert identity(words, place) == identity(["study", "my study.yaml", *typed], place)


@pytest.mark.parametrize("command", ["run", "status", "doctor"])
@pytest.mark.parametrize("typed", TYPED[1:4], ids=" ".join)
def test_a_file_of_the_other_kind_names_the_command_for_it(command, typed, place):
    if command == "doctor":  # takes studies too
        (place / "table.yaml").write_text("name: t\nset: {network.width: 8}\nplan: [{list: [{label: a}]}]\n")
        typed = [w for w in typed if w not in ("--trials", "5")]
        done, name = call("study", "table.yaml", *typed, cwd=place), "table.yaml"
    else:
        done, name = call(command, "my study.yaml", *typed, cwd=place), "my study.yaml"
    assert done.returncode == 2, done
    (words,) = commands(done.stderr)
    assert words[:2] == ["run" if command == "doctor" else "study", name]
    again = call(*words, "--dry-run", cwd=place)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("at", ["runs", "my runs", "a/b"])
def test_a_hint_names_the_runs_directory(at, place):
    (place / at).mkdir(parents=True)
    done = call("runs", "remove", "33dd", "--runs-dir", at, cwd=place)
    (words,) = commands(done.stderr)
    assert words == ["runs", "list", "--runs-dir", at]
    assert call(*words, cwd=place).returncode == 0


@pytest.mark.parametrize(
    ("argv", "start"),
    [
        (["/x/ablate/__main__.py", "run"], f"{sys.executable} -m ablate ui"),
        (["ablate", "run"], "ablate ui"),
        (["/somewhere/kernel.py", "--runs-dir", "theirs"], "ablate ui"),
    ],
)
def test_a_hint_starts_as_the_command_did(argv, start, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", argv)
    assert hint.command("ui") == f"`{start}`"


def test_an_extractor_that_was_typed_is_a_setting_of_other_commands(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ablate", "study", "s.yaml", "--extractor", "my net.pt"])
    words = shlex.split(hint.command("report", "s.yaml", keep=hint.SOURCE).strip("`"))
    assert words == ["ablate", "report", "s.yaml", "--set", "profile.evaluation.extractor=my net.pt"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@host/studies",
        "mysql+pymysql://hunter2@host/studies?charset=utf8",
        "sqlite:////tmp/user:hunter2@place/studies.db",
    ],
)
@pytest.mark.parametrize("option", ["--storage", "--tracking-uri"])
def test_no_hint_has_a_password(url, option, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ablate", "study", "s.yaml", option, url])
    for shown in (hint.command("study", "s.yaml", option, url), hint.command("study", keep=(option,))):
        assert "hunter2" not in shown
        assert url.partition("://")[0] in shown


def test_a_python_beside_you_is_named_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sys, "argv", ["/x/ablate/__main__.py", "run"])
    assert hint.command("status") == "`./python -m ablate status`"


def test_a_script_names_the_folder_of_the_cells(tmp_path, monkeypatch):
    from ablate.runs.store import Store

    monkeypatch.setattr(sys, "argv", ["mine.py"])
    store = Store(tmp_path / "far")
    monkeypatch.setattr(Store, "record", lambda *_: {"state": "finished"})
    assert f"`ablate runs remove abc --runs-dir {tmp_path / 'far'}`" in store.unfinished("abc")
