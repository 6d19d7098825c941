"""What the environment says is heeded or named, and no machine makes a traceback."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import sys
from unittest import mock

import matplotlib
import pytest
import typer
from helpers.cli import call, command
from helpers.made import LIST, Made

from ablate import cli
from ablate.report import style
from ablate.tracking import live, server
from ablate.tracking.backend import IGNORED, ignored

FILE = """
name: one
seeds: [0]
plan: [{list: [{label: ict σ 😀}]}]
"""
URI = "MLFLOW_TRACKING_URI"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "one.yaml").write_text(FILE, encoding="utf-8")
    return tmp_path


def shell(place, line, **variables):
    """A line for bash, in which `ablate` is the command."""
    function = f'ablate() {{ {shlex.join(command())} "$@"; }}; {line}'
    env = {**os.environ, **variables}
    given = {"cwd": place, "env": env, "capture_output": True, "text": True, "errors": "backslashreplace"}
    return subprocess.run(["bash", "-c", function], **given)


def parameters():
    """Every parameter of every command, with the command's name."""
    for name, one in typer.main.get_command(cli.app).commands.items():
        yield from ((name, parameter) for parameter in one.params)


# MLflow


def test_every_tracking_uri_is_that_of_the_environment_by_default():
    found = {name: p for name, p in parameters() if p.name == "tracking_uri"}
    assert {"run", "study", "sync", "ui"} <= found.keys()
    assert {p.envvar for p in found.values()} == {URI}


@pytest.mark.parametrize(
    ("variable", "option", "used"),
    [
        ("http://team:5000", None, "http://team:5000"),
        ("http://team:5000", "sqlite:///own.db", "sqlite:///own.db"),
        ("", None, None),
        (None, None, None),
    ],
)
def test_an_option_is_stronger_than_the_environment(place, monkeypatch, variable, option, used):
    seen = []
    monkeypatch.setattr(server, "serve", lambda runs, uri, port: seen.append(uri) or 0)
    monkeypatch.delenv(URI, raising=False)
    if variable is not None:
        monkeypatch.setenv(URI, variable)
    assert call("ui", *(["--tracking-uri", option] if option else []), cwd=place).returncode == 0
    assert seen == [used]


@pytest.mark.parametrize(
    "uri", ["nonsense", "ftp://team/x", "file:///tmp/mlruns", "mlruns/", "htp://team", "sqlight:///a.db"]
)
@pytest.mark.parametrize("command", [["run", "one.yaml", "--dry-run"], ["sync", "one.yaml"], ["ui"]])
def test_an_address_that_no_store_has_is_refused_at_once(place, monkeypatch, uri, command):
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    monkeypatch.setenv(URI, uri)
    done = call(*command, cwd=place)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: --tracking-uri {uri}: needs the address of a database or a server")
    assert not (place / "runs").exists()


def test_folders_of_files_are_for_those_who_allow_them(place, monkeypatch):
    seen = []
    monkeypatch.setattr(server, "serve", lambda runs, uri, port: seen.append(uri) or 0)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert call("ui", "--tracking-uri", "mlruns", cwd=place).returncode == 0
    assert seen == ["mlruns"]


def test_sync_sends_to_the_server_of_the_environment(place, monkeypatch):
    seen = []
    (place / "runs").mkdir()
    monkeypatch.setenv(URI, "http://team:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    monkeypatch.setattr(live, "sync", lambda *words: seen.append(words[1]) or (0, []))
    done = call("sync", "one.yaml", cwd=place)
    assert seen == ["http://team:5000"]
    assert done.stderr.startswith("note: MLFLOW_EXPERIMENT_NAME=other is not used: ")


def test_an_experiment_of_the_environment_is_named(monkeypatch):
    for name in IGNORED:
        monkeypatch.delenv(name, raising=False)
    assert ignored("one") == []
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "one")
    assert ignored("one") == []
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
    assert ignored("one") == []
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "two")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    assert [line.split(" is not used")[0] for line in ignored("one")] == [
        "MLFLOW_EXPERIMENT_NAME=two",
        "MLFLOW_EXPERIMENT_ID=7",
    ]


# paths


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (
            ["--set", "profile.data.name=folder", "--set", "profile.data.path=~nosuchuser/p"],
            "profile.data.path",
        ),
        (
            ["--set", "profile.data.name=cifar10", "--set", "profile.data.path=~nosuchuser/p"],
            "profile.data.path",
        ),
        (["--set", "init_from={name: file, path: ~nosuchuser/p}"], "init_from.path"),
        (["--set", "init_from={name: run, key: ab, runs: ~nosuchuser/p}"], "init_from.runs"),
        (["--profile", "~nosuchuser/p.yaml"], "profile"),
        (["--runs-dir", "~nosuchuser/p"], "--runs-dir"),
        (["--reports-dir", "~nosuchuser/p"], "--reports-dir"),
    ],
)
def test_a_home_that_nobody_has_is_one_line(place, words, named):
    done = call("run", "one.yaml", "--dry-run", *words, cwd=place)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{named}: '~nosuchuser/p" in done.stderr
    assert done.stderr.endswith("there is no user 'nosuchuser'\n")
    assert done.stderr.count("\n") == 1


def test_weights_of_the_environment_are_looked_at_before_training(place, monkeypatch):
    monkeypatch.setenv("ABLATE_INCEPTION_WEIGHTS", "~nosuchuser/w.pth")
    done = call("run", "one.yaml", "--dry-run", "--set", "profile.evaluation.extractor=inception", cwd=place)
    assert done.returncode == 2
    assert "ABLATE_INCEPTION_WEIGHTS: '~nosuchuser/w.pth': there is no user" in done.stderr


def test_paths_of_options_have_homes(place, monkeypatch):
    """`--out=~/x.png` reaches the program as it stands; a folder called `~` would surprise."""
    monkeypatch.setenv("HOME", str(place))
    seen = []
    monkeypatch.setattr(server, "serve", lambda runs, uri, port: seen.append(runs) or 0)
    assert call("ui", "--runs-dir=~/runs", cwd=place).returncode == 0
    assert seen == [place / "runs"]
    named = [p for _, p in parameters() if p.name in ("runs_dir", "reports_dir", "out", "image")]
    assert len(named) > 20
    assert all(p.callback for p in named)


# streams


@pytest.mark.parametrize(
    ("line", "code", "errors"),
    [
        ("ablate list >&-", 0, ""),
        ("ablate list <&- >&- 2>&-", 0, ""),
        ("ablate list levels | true; exit ${PIPESTATUS[0]}", (0, 1), ""),
        ("ablate schema | head -1; exit ${PIPESTATUS[0]}", (0, 1), ""),
        ("ablate list > /dev/full", 1, "error: no space left on device\n"),
        ("ablate list levels > /dev/full", 1, "no space left on device\n"),
    ],
)
def test_output_that_nobody_takes_is_no_traceback(place, line, code, errors):
    done = shell(place, line)
    assert done.returncode in (code if isinstance(code, tuple) else (code,))
    assert done.stderr.endswith(errors)
    assert done.stderr.count("\n") <= 1


def test_a_closed_output_is_no_file_of_ours(place):
    """Whatever is opened next would get its number, and what libraries print would be written into it."""
    look = "print(os.readlink('/proc/self/fd/1'), file=open('n', 'w'))"
    code = f"import os; from ablate import cli; cli._open_streams(); {look}"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} >&-"
    subprocess.run(["bash", "-c", command], cwd=place, check=True)
    assert (place / "n").read_text() == "/dev/null\n"


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii:strict"},
    ],
)
def test_letters_that_the_terminal_lacks_are_written_as_numbers(place, variables):
    code = "from ablate import cli; cli._open_streams(); print('ict \\u03c3 \\U0001f600')"
    done = shell(place, f"{sys.executable} -c {shlex.quote(code)}; ablate run größe.yaml", **variables)
    assert done.stdout == "ict \\u03c3 \\U0001f600\n"
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("e.yaml: no such file or directory\n")


@pytest.mark.parametrize("columns", ["0", "1", "-3", "many", "100000"])
def test_any_width_of_a_terminal(place, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for words in (["list", "levels"], ["status", "one.yaml", "--once"], ["run", "--help"]):
        assert call(*words, cwd=place).returncode == 0


# failures of the machine


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EACCES, "Permission denied", "/x/y"), "/x/y: permission denied"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
        (OSError("AF_UNIX path too long"), "OSError: AF_UNIX path too long"),
        (RuntimeError("can't start new thread"), "RuntimeError: can't start new thread"),
        (RuntimeError("CUDA error:\n out of memory"), "RuntimeError: CUDA error: out of memory"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_a_failure_of_the_machine_is_one_line(place, monkeypatch, error, line):
    monkeypatch.setattr(cli.recipes, "load_plugins", mock.Mock(side_effect=error))  # no code of yours
    done = call("list", cwd=place)
    assert (done.returncode, done.stderr) == (1, f"error: {line}\n")


@pytest.mark.parametrize("error", [NotImplementedError, RecursionError, KeyError, TypeError, AssertionError])
def test_a_bug_is_a_traceback(place, monkeypatch, error):
    monkeypatch.setattr(cli.recipes, "load_plugins", mock.Mock(side_effect=error))  # no code of yours
    with pytest.raises(error):
        call("list", cwd=place)


def test_a_folder_that_was_deleted_is_one_line(place):
    done = shell(place, "mkdir gone; cd gone; rmdir ../gone; ablate list")
    assert (done.returncode, done.stderr) == (1, "error: the current folder was deleted\n")


# figures


@pytest.mark.parametrize(
    "yours",
    [
        {"text.usetex": True},
        {"font.size": 40.0, "axes.grid": True},
        {"savefig.dpi": 7.0},
        {"interactive": True},
    ],
)
def test_settings_of_matplotlib_come_back_after_a_figure(yours):
    with matplotlib.rc_context(yours):
        with style.defaults():
            assert {k: matplotlib.rcParams[k] for k in yours} == {
                k: matplotlib.rcParamsDefault[k] for k in yours
            }
        assert {k: matplotlib.rcParams[k] for k in yours} == yours


@pytest.mark.slow
def test_figures_are_drawn_whatever_matplotlib_is_set_to(tmp_path):
    """As a process of its own, since matplotlib reads its settings once."""
    made = Made(tmp_path, LIST).put(0, 300.0, 310.0).put(1, 200.0, 220.0)
    settings = "text.usetex: True", "font.size: 40", "backend: nonsense", "axes.grid: nonsense", "no.such: 1"
    (tmp_path / "matplotlibrc").write_text("\n".join(settings))
    done = shell(tmp_path, "ablate report made.yaml", MPLBACKEND="module://matplotlib_inline.backend_inline")
    assert (done.returncode, "left out" in done.stderr) == (0, False), done.stderr
    drawn = (tmp_path / "reports" / "made" / "fid.png").read_bytes()
    shutil.rmtree(made.reports)
    made.write()
    assert (made.reports / "made" / "fid.png").read_bytes() == drawn
