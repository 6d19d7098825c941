"""Files of yours that are named like modules of Python or of the packages that are used."""

from __future__ import annotations

import os
import sys

import pytest

from ablate.core import search_path
from tests.helpers import cli


@pytest.mark.parametrize(
    "names", [("random.py",), ("torch.py", "yaml.py"), ("typing.py", "pydantic/__init__.py")]
)
def test_your_files_hide_no_module(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('hidden')")
    (tmp_path / "mine.yaml").write_text("name: mine\nplan: [{list: [{label: ict}]}]\nseeds: [0]\n")
    done = cli.launch("run", "mine.yaml", "--dry-run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_worker_looks_in_the_same_order(monkeypatch, tmp_path):
    first, last = str(tmp_path / "first"), str(tmp_path / "last")
    monkeypatch.setattr(sys, "path", [first, *(p for p in sys.path if p.startswith(sys.prefix)), last])
    changed = search_path.environment()
    assert (changed["PYTHONPATH"], changed[search_path.LAST]) == (first, last)
    monkeypatch.setattr(sys, "path", [str(tmp_path), first, sys.prefix])
    monkeypatch.setenv(search_path.LAST, changed[search_path.LAST])
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.chdir(tmp_path)
    search_path.yours_last()
    assert sys.path == [first, sys.prefix, last, str(tmp_path)]
    assert os.environ["PYTHONSAFEPATH"]  # of the server that forks workers, which has no `-m`
