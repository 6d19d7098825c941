"""Modules of the user that do not import: one line, exit code 2, whatever they raise."""

from __future__ import annotations

import sys

import pytest
from helpers.cli import call

BROKEN = {
    "syntax": "def (",
    "missing": "import no_such_module_of_mine",
    "script": "import sys; sys.exit(3)",
    "quiet script": "raise SystemExit",
    "two lines": "raise ValueError('one\\ntwo')",
    "nothing said": "raise KeyError",
    "recursion": "def f(): f()\nf()",
    "option": "import ablate\nablate.AXES['metric']('my metric')(int)",
    "default": "import ablate\nfrom dataclasses import dataclass\n@ablate.AXES['metric']('mine')\n"
    "@dataclass(frozen=True)\nclass Mine:\n    a: object = object()\n    def __call__(self, x, y): ...",
    "axis": "import ablate\nablate.AXES['metrik']",
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("broken_module", None)


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("place", ["imports", "network"])
def test_a_module_that_does_not_import_is_one_line(source, place, own):
    (own / "broken_module.py").write_text(source)
    network = "set: {network: {name: module, path: 'broken_module:Net'}}\n" if place == "network" else ""
    imports = "imports: [broken_module]\n" if place == "imports" else ""
    (own / "one.yaml").write_text(f"name: one\n{imports}{network}plan: [{{list: [{{label: a}}]}}]\n")
    for command in (["run", "--dry-run"], *([["doctor"]] if place == "imports" else [])):
        done = call(*command, "one.yaml", cwd=own)
        assert done.returncode == 2, done
        (line,) = done.stderr.splitlines()
        assert line.startswith(
            "error: one.yaml: imports: " if place == "imports" else "error: one.yaml: row 'a': network.path: "
        )
        assert "broken_module" in line
