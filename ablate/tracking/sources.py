"""Cells from elsewhere, a records file or an MLflow store: into the runs directory, or only into a report."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ablate.core.errors import SpecError
from ablate.planning.cells import Cell
from ablate.planning.experiment import Experiment
from ablate.runs import records_file
from ablate.runs.records_file import Offer
from ablate.runs.store import Folder, Store

RESULTS = ("finished", "diverged")  # a failed cell may do better here
ENDS = (*RESULTS, "failed")  # what a report tells


@dataclass
class Brought:
    """Keys of the cells that were brought and of those that were there; what was refused, a line each."""

    keys: list[str] = field(default_factory=list)
    here: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def bring(
    source: str, store: Store, keys: Collection[str] | None = None, states: Collection[str] = RESULTS
) -> Brought:
    """Put the cells of `source` that ended into a store; what is there is never replaced.

    Args:
        source: an MLflow tracking URI, a records file, or a folder with one.
        keys: no others than these.
        states: how they may have ended.
    Raises:
        SpecError: the source can not be read.
    """
    brought = Brought()
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=store.path) as place:
        for number, (key, write) in enumerate(_offers(source)):
            if key and keys is not None and key not in keys:
                continue
            if key and store.record(key):
                brought.here |= {key} - set(brought.keys)
                continue
            try:
                made = Folder(Path(place) / str(number))
                made.path.mkdir()
                write(made.path)
                if records_file.check(made, key)["state"] in states and records_file.settle(
                    made, store.folder(key)
                ):
                    brought.keys.append(key)
            except SpecError as error:
                brought.problems += error.problems
    return brought


def _offers(source: str) -> Iterator[Offer]:
    if "://" in source:
        from ablate.tracking.retrieval import offers

        return offers(source)
    return records_file.offers(Path(source))


@contextmanager
def reading(source: str | None, experiment: Experiment, runs: Path) -> Iterator[tuple[Path, list[str]]]:
    """Where a report's cells lie while the block lasts, and what was refused, a line each.

    Args:
        source: where they are taken from; None: `runs`, as it is.
    Raises:
        SpecError: the source can not be read, or has no cell of the experiment.
    """
    if source is None:
        yield runs, []
        return
    with tempfile.TemporaryDirectory() as place:
        brought = bring(source, Store(place), possible(experiment), ENDS)
        if not brought.keys:
            raise SpecError(f"{source}: it has no cell of {experiment.name}", *brought.problems)
        yield Path(place), brought.problems


def possible(experiment: Experiment) -> set[str]:
    """The keys of all cells that an experiment has, or gets where its claims stay open."""
    firsts = [experiment.cells[row.keys[0]] for row in experiment.rows] if experiment.more_seeds else []
    more = {
        Cell.of(c.recipe, c.profile, seed, c.fingerprint, c.imports).key
        for c in firsts
        for seed in experiment.more_seeds
    }
    return {*experiment.cells, *more}
