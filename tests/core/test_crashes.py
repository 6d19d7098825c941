"""Code of yours that ends its process: every command says in one line which file did, and nothing is lost silently."""

from __future__ import annotations

import sys

import pytest
from helpers.cli import call, launch

ENDS = {  # code -> what is said of it
    "os._exit": ("import os; os._exit(0)", "it ended the process with exit code 0"),
    "os._exit with a code": ("import os; os._exit(7)", "it ended the process with exit code 7"),
    "sys.exit": ("import sys; sys.exit(3)", "it ended the process with exit code 3"),
    "quit": ("raise SystemExit", "it ended the process with exit code 0"),
    "recursion": ("f = lambda: f(); f()", "RecursionError: maximum recursion depth exceeded"),
    "any error": ("1 / 0", "ZeroDivisionError: division by zero"),
}
CRASHES = {
    "segmentation fault": "import ctypes; ctypes.string_at(0)",
    "aborted": "import os; os.abort()",
    "stack overflow": "import sys; sys.setrecursionlimit(10**9); f = lambda n: sorted([n, n], key=f); f(1)",
}
OPTION = """
from dataclasses import dataclass
import ablate

@ablate.AXES["metric"]("ends")
@dataclass(frozen=True)
class Ends:
    def __post_init__(self):
        {at_start}

    def __call__(self, x, y):
        {at_call}
"""
FILE = """
name: ends
imports: [ending_option]
set: {metric: ends, network.width: 8, network.multipliers: [1], network.attention: []}
plan: [{list: [{label: mine}]}]
"""
NETWORK = """
import torch

class Net(torch.nn.Module):
    def __init__(self, shape, classes, embedding):
        super().__init__()
        {at_start}
"""
OWN_NET = """
name: own
set: {network: {name: module, path: 'ending_network:Net'}}
plan: [{list: [{label: mine}]}]
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("ending_option", "ending_network"):
        sys.modules.pop(name, None)
    from ablate.core.registry import AXES

    AXES["metric"].options.pop("ends", None)


def write(place, at_start="pass", at_call="return (x - y).abs().flatten(1).sum(1)"):
    (place / "ending_option.py").write_text(OPTION.format(at_start=at_start, at_call=at_call))
    (place / "ends.yaml").write_text(FILE)


COMMANDS = [["run", "--dry-run"], ["run", "--no-doctor"], ["doctor"], ["status", "--once"], ["report"]]


@pytest.mark.parametrize(("code", "said"), ENDS.values(), ids=ENDS)
def test_an_option_that_ends_the_process_while_it_is_planned(code, said, place):
    write(place, at_start=code)
    for command in COMMANDS:
        done = call(*command, "ends.yaml", cwd=place)
        assert done.returncode == 2, done
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert "ending_option.py:9: " in line
        assert said in line


def test_an_option_that_ends_the_process_when_it_is_called_is_a_finding(place):
    write(place, at_call="import os; os._exit(0)")
    done = call("doctor", "ends.yaml", cwd=place)
    assert done.returncode == 1
    assert "ending_option.py:12: it ended the process with exit code 0" in done.stdout
    assert "1 recipes" in done.stdout.splitlines()[-1]  # the other checks are made, and counted


@pytest.mark.parametrize("code", CRASHES.values(), ids=CRASHES)
def test_a_crash_shows_the_file_that_it_was_in(code, place):
    write(place, at_start=code)
    done = launch("run", "ends.yaml", "--dry-run", cwd=place)
    assert done.returncode < 0
    assert done.stderr.startswith("Fatal Python error: ")
    assert f'File "{place / "ending_option.py"}", line ' in done.stderr


def test_a_crash_while_run_checks_recipes_names_the_file(place):
    write(place, at_call=CRASHES["segmentation fault"])
    done = call("run", "ends.yaml", cwd=place)
    assert done.returncode == 2
    first, last = done.stderr.splitlines()
    assert "mine: could not be examined: " in first
    assert "ending_option.py:12: it ended the process: segmentation fault" in first
    assert last.startswith("error: nothing was trained")


@pytest.mark.parametrize(
    "code",
    [
        "raise RuntimeError('no width')",
        "import os; os._exit(0)",
        "import sys; sys.exit('enough')",
        "import no_such_module_here",
        "self.first = torch.nn.Linear(embedding.channels)",
        "import ctypes; ctypes.string_at(0)",
    ],
)
@pytest.mark.parametrize("command", [["run"], ["run", "--no-doctor"], ["run", "--dry-run"]], ids=str)
def test_a_network_that_cannot_be_built_is_said_before_training(code, command, place):
    (place / "ending_network.py").write_text(NETWORK.format(at_start=code))
    (place / "own.yaml").write_text(OWN_NET)
    if command[-1] == "--dry-run" and "ctypes" in code:
        pytest.skip("ends this process; see the test of crashes")
    done = call(*command, "own.yaml", cwd=place)
    assert done.returncode == 2, done
    assert "network" in done.stderr
    assert "worker" not in done.stderr
    assert not list(place.glob("runs/*/log.txt"))


def test_a_network_that_does_not_import_is_said_before_training(place):
    (place / "ending_network.py").write_text("raise ValueError('no such card')")
    (place / "own.yaml").write_text(OWN_NET)
    done = call("run", "--no-doctor", "own.yaml", cwd=place)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "own.yaml: row 'mine': network" in done.stderr
    assert "ValueError: no such card" in done.stderr


def test_the_worker_says_which_file_ended_it(place, warmed):
    write(warmed(place), at_call="import os; os._exit(0)")
    small = [
        w for k in ("images=512", "batch=16", "evaluation.samples=64") for w in ("--set", f"profile.{k}")
    ]
    done = call("run", "--no-doctor", "--workers", 1, "ends.yaml", *small, cwd=place)
    assert done.returncode == 1
    assert f"{place / 'ending_option.py'}:12: it ended the process with exit code 0" in done.stdout
