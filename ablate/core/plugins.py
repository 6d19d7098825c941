"""Discovery of implementations: every module of a folder, then the entry points of installed packages."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from functools import cache
from typing import Any


@cache
def load(package: str, group: str) -> None:
    """Import every module of a package's folder, in alphabetical order, then load the entry points of `group`.

    Modules whose names begin with `_` are skipped. Their classes register themselves, for example as subclasses.
    A second call does nothing.
    """
    for name in sorted(
        module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)
    ):
        if not name.startswith("_"):
            importlib.import_module(f"{package}.{name}")
    for entry in _installed().select(group=group):
        entry.load()


@cache
def _installed() -> Any:  # EntryPoints, from Python 3.12 on
    """All entry points, cached: scanning the installed packages takes longer than planning a small file."""
    return importlib.metadata.entry_points()
