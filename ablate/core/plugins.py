"""Discovery of implementations: every module of a folder, then the entry points of installed packages."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any

from ablate.core import crashes
from ablate.core.errors import SpecError


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
        with yours(f"entry point {entry.name!r} of {group}"):
            entry.load()


@contextlib.contextmanager
def yours(where: str) -> Iterator[None]:
    """Import code of the user, which may raise anything, or end itself as scripts do.

    Args:
        where: the key that names it; begins the error message.
    Raises:
        SpecError: it raised something.
    """
    try:
        yield
    except SpecError as error:
        raise error.under(where) from None
    except (Exception, SystemExit) as error:
        raise SpecError(f"{where}: {crashes.described(error)}") from None


@cache
def _installed() -> Any:  # EntryPoints, from Python 3.12 on
    """All entry points, cached: scanning the installed packages takes longer than planning a small file."""
    return importlib.metadata.entry_points()
