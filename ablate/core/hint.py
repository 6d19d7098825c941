"""Commands in messages: whole, so that you can copy them, with the options that you typed now."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = ("--profile", "--set", "--seeds", "--tune", "--trials", "--tuning-seeds", "--budgets")
EXTRACTOR, BY = (
    "--extractor",
    "profile.evaluation.extractor",
)  # of `run` and `study`, and the field that it sets
RUNS, REPORTS, TRACKING = "--runs-dir", "--reports-dir", "--tracking-uri"
WHOLE = (*SOURCE, RUNS, REPORTS)  # what says which cells, and where they and their reports are


def command(name: str, *words: object, keep: tuple[str, ...] = (RUNS,)) -> str:
    """The command `name` with `words`, and with the options in `keep` as they were typed, in backquotes.

    It starts as this process was started: `python -m ablate`, or the name of a script. Passwords are left out.
    """
    start = _program()
    kept = [*_typed(keep)] if start else []
    shown = [masked(word) if "://" in word else word for word in (*map(str, words), *kept)]
    return f"`{shlex.join([*(start or ['ablate']), *name.split(), *shown])}`"


def masked(url: str) -> str:
    """The URL with user and password replaced by dots."""
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://...@{tail}" if at else url


def _program() -> list[str]:
    """The words that start the command line; none in a notebook or a script of yours."""
    script = Path(sys.argv[0]) if sys.argv else Path()
    if (script.parent.name, script.name) == ("ablate", "__main__.py"):
        python = Path(sys.executable)
        near = python.is_relative_to(Path.cwd())
        shown = str(python.relative_to(Path.cwd()) if near else python)
        return [shown if os.sep in shown else f".{os.sep}{shown}", "-m", "ablate"]
    if script.name != "ablate":
        return []
    found = shutil.which(script.name)
    return [script.name if found is None or os.path.samefile(found, sys.argv[0]) else sys.argv[0]]


def _typed(keep: tuple[str, ...]) -> Iterator[str]:
    """The words of these options, both `--set a=b` and `--set=a=b`."""
    words = iter(sys.argv[1:])
    for word in words:
        option, equals, value = word.partition("=")
        if option not in (*keep, EXTRACTOR):
            continue
        value = value if equals else next(words, "")
        if option in keep:
            yield from (option, value)
        elif "--set" in keep and sys.argv[1] in ("run", "study"):
            yield from ("--set", f"{BY}={value}")
