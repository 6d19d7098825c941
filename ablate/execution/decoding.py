"""Decodes a profile's images before the workers start, with a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ablate.core.errors import SpecError
from ablate.data import datasets, kept, sources
from ablate.planning.cells import Cell


def decode(cells: Iterable[Cell], cache: Path) -> None:
    """Decode the images of cells unless the cache has them; without a terminal, show a line for every tenth.

    What stands in the way stops the cells' workers too, and they say of which cells.
    """
    known = {cell.fingerprint: cell.profile.data for cell in cells}
    for mark, spec in known.items():
        if sources.find(spec).kept and not kept.folder(cache, mark).exists():
            with suppress(SpecError, OSError), ExitStack() as shown:
                datasets.decode(spec, cache, mark, _bar(shown))


def _bar(shown: ExitStack) -> kept.OnImages:
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        return kept.tenths(lambda line: print(line, file=sys.stderr, flush=True))
    columns = (TextColumn("decoding images, once"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = shown.enter_context(Progress(*columns, console=console))
    task = bar.add_task("", total=None)
    return lambda done, total: bar.update(task, completed=done, total=total)
