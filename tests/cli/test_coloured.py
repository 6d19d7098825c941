"""Tables for terminals, plain text elsewhere, completion of names."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

import ablate
from ablate.cli import coloured, listings


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drawn(tables, width=80):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system="standard")
    for table in tables:
        console.print(table)
    return console.file.getvalue()


def plain(text):
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_colours_are_for_terminals_alone(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert coloured.wanted(Terminal())
    assert not coloured.wanted(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured.wanted(Terminal())


@pytest.mark.parametrize("width", [60, 120])
def test_a_table_of_options_fits_the_terminal_and_has_all_of_them(width):
    text = drawn(coloured.axes(listings.plain(["metric"])), width)
    assert "\x1b[" in text
    assert max(len(line) for line in plain(text).splitlines()) <= width
    assert all(option in plain(text) for option in ("pseudo_huber", "cauchy", "lpips", "(B, C, H, W)"))


def test_a_recipe_and_a_difference_have_every_field():
    ict, ct = ablate.load_recipe("ict"), ablate.load_recipe("ct")
    text = plain(drawn(coloured.described({"recipe": ict.flat(), "parameters": 56421376})))
    assert all(field in text for field in ict.flat())
    assert "56,421,376" in text
    found = ablate.diff(ct, ict)
    assert all(field in plain(drawn(coloured.differing("ct", "ict", found))) for field in found)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("list met", "metric"),
        ("show ic", "ict"),
        ("diff ct ic", "ict"),
        ("run x.yaml --profile cifar10-c", "cifar10-cpu"),
        ("run x.yaml --set noise_p", "noise_precond"),
        ("run x.yaml --set noise.p_m", "noise.p_mean"),
        ("run x.yaml --set metric=pseudo_huber_", "metric=pseudo_huber_per_element"),
    ],
)
def test_a_shell_completes_names(words, wanted):
    answer = {"_ABLATE_COMPLETE": "complete_bash", "COMP_WORDS": f"ablate {words}"}
    answer["COMP_CWORD"] = str(len(words.split()))
    code = "import sys; sys.argv = ['ablate']; from ablate.cli import app; app(prog_name='ablate')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **answer},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [wanted], done.stderr
