"""What a new user types first: files that are not there, and the help of every command."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer
from helpers.cli import call

from ablate.cli import app

ROOT = Path(__file__).parents[2]
FILE = "name: mine\nplan: [{list: [{label: ict}]}]\n"
TAKES_FILE = {
    "run": ["run"],
    "dry run": ["run", "--dry-run"],
    "study": ["study"],
    "doctor": ["doctor"],
    "bench": ["bench"],
    "report": ["report"],
    "status": ["status"],
    "sync": ["sync"],
    "summary": ["summary"],
    "importance": ["importance"],
    "fetch": ["fetch", "records.jsonl"],
}


@pytest.mark.parametrize("command", TAKES_FILE)
def test_a_file_that_is_not_there_is_refused_with_the_nearest_one(command, tmp_path):
    (tmp_path / "mine.yaml").write_text(FILE)
    done = call(*TAKES_FILE[command], "mien.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: mien.yaml: no such file; did you mean mine.yaml?\n"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize("typed", ["table1", "experiments/tabel1.yaml", "table1.yml", "experiments/table1"])
def test_a_shipped_experiment_is_found_by_its_name(typed):
    done = call("run", typed, "--dry-run", cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == f"error: {typed}: no such file; did you mean experiments/table1.yaml?\n"


def test_the_path_that_is_proposed_exists_from_any_folder(tmp_path):
    done = call("status", "table1", cwd=tmp_path)
    proposed = done.stderr.removesuffix("?\n").rpartition("did you mean ")[2]
    assert Path(proposed).samefile(ROOT / "experiments" / "table1.yaml")


def test_where_no_file_is_near_none_is_proposed(tmp_path):
    (tmp_path / "mine.yaml").write_text(FILE)
    done = call("doctor", "qqqqqqq", cwd=tmp_path)
    assert done.stderr == "error: qqqqqqq: no such file or directory\n"


def test_a_name_with_a_line_end_stays_one_line(tmp_path):
    done = call("report", "a\nb", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def commands(group, words=()):
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


def test_the_help_of_every_command_has_an_example_that_is_right(monkeypatch):
    monkeypatch.chdir(ROOT)
    for words, command in commands(typer.main.get_command(app)):
        start, _, line = (command.epilog or "").partition("Example: ablate ")
        typed = shlex.split(line.partition(" > ")[0])
        assert (start, typed[: len(words)]) == ("", [*words]), words
        command.make_context(words[-1], typed[len(words) :])  # raises where an option or argument is wrong
