"""Implementations that are found, not listed: every module of a folder, then what is installed beside the package."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from functools import cache
from typing import Any


@cache
def load(package: str, group: str) -> None:
    """Import every module of a package's folder, in alphabetical order, then load the entry points of `group`.

    A module whose name begins with `_` is left out. What the modules define registers itself, for example as a
    subclass. A second call does nothing.
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
    """All entry points; looking through every installed package takes longer than planning a small file."""
    return importlib.metadata.entry_points()
