"""Plugins: modules of a folder and entry points, each once, in a fixed order."""

from __future__ import annotations

import sys

import pytest

from ablate.core import plugins


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package whose modules write down that they were imported."""
    path = tmp_path / f"plugged_{tmp_path.name.replace('-', '_')}"
    path.mkdir()
    (path / "__init__.py").write_text("order = []\n")
    for module in ("b", "a", "_private"):
        (path / f"{module}.py").write_text(noted(path, module))
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins._installed.cache_clear()
    yield path
    plugins._installed.cache_clear()


def noted(path, module):
    return f"from {path.name} import order\norder.append({module!r})\n"


def test_public_modules_are_imported_once_in_alphabetical_order(folder):
    for _ in range(2):
        plugins.load(folder.name, "ablate.nothing")
    assert sys.modules[folder.name].order == ["a", "b"]


def test_installed_modules_of_the_group_follow(folder):
    metadata = folder.parent / "late-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1.0\n")
    groups = f"[ablate.made_up]\nlate = late_{folder.name}\n[ablate.other]\nother = no_such_module\n"
    (metadata / "entry_points.txt").write_text(groups)
    (folder.parent / f"late_{folder.name}.py").write_text(noted(folder, "installed"))
    plugins.load(folder.name, "ablate.made_up")
    assert sys.modules[folder.name].order == ["a", "b", "installed"]


def test_a_broken_module_is_not_passed_over(folder):
    (folder / "c.py").write_text("raise OSError('no such disk')\n")
    with pytest.raises(OSError, match="no such disk"):
        plugins.load(folder.name, "ablate.nothing")
