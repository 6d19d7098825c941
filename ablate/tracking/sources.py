"""Fetches cells from a records file or an MLflow store, into the runs directory or only for a report."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ablate.core.errors import SpecError
from ablate.evaluation import ruler
from ablate.planning.cells import read_by
from ablate.planning.experiment import Experiment
from ablate.runs import records_file
from ablate.runs.record import ENDED, RESULTS
from ablate.runs.records_file import Offer
from ablate.runs.store import Folder, Store


@dataclass
class Fetched:
    """Keys of the fetched cells, keys of cells that were already there, refused cells and remarks, a line each."""

    keys: list[str] = field(default_factory=list)
    present: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def fetch(
    source: str, store: Store, keys: Collection[str] | None = None, states: Collection[str] = RESULTS
) -> Fetched:
    """Put the ended cells of `source` into a store; cells that are already there are never replaced.

    Args:
        source: an MLflow tracking URI, a records file, or a folder with one.
        keys: fetch only these.
        states: fetch only cells that ended so.
    Raises:
        SpecError: the source cannot be read, or the store not written.
    """
    fetched, store = Fetched(), Store.writable(store.path)
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=store.path) as place:
        for number, (key, write) in enumerate(_offers(source)):
            if key and keys is not None and key not in keys:
                continue
            if key and store.record(key):
                fetched.present |= {key} - set(fetched.keys)
                continue
            try:
                made = Folder(Path(place) / str(number))
                made.path.mkdir()
                write(made.path)
                if records_file.check(made, key)["state"] in states and records_file.install(
                    made, store.folder(key)
                ):
                    fetched.keys.append(key)
            except SpecError as error:
                fetched.problems += error.problems
        wanted = ruler.labels(map(store.record, fetched.keys)) - {*ruler.files(ruler.SHIPPED)}
        if wanted:
            fetched.notes += ruler.install(_rulers(source, Path(place)), wanted, store.cache)
    return fetched


def _rulers(source: str, place: Path) -> Path:
    """A folder with the extractors of a source: beside a records file, or downloaded into `place`."""
    if "://" in source:
        from ablate.tracking.retrieval import rulers

        rulers(source, place)
        return place
    return Path(source) if Path(source).is_dir() else Path(source).parent


def _offers(source: str) -> Iterator[Offer]:
    if "://" in source:
        from ablate.tracking.retrieval import offers

        return offers(source)
    return records_file.offers(Path(source))


@contextmanager
def reading(
    source: str | None, experiment: Experiment, runs: Path, *more: Experiment
) -> Iterator[tuple[Path, list[str]]]:
    """The folder of a report's cells, valid inside the block, and the refused cells, a line each.

    Args:
        source: as in `fetch`; None for the cells in `runs`.
        more: further experiments whose cells are read.
    Raises:
        SpecError: the source cannot be read, or has no cell of the experiments.
    """
    if source is None:
        yield runs, []
        return
    with tempfile.TemporaryDirectory() as place:
        experiments = [experiment, *more]
        fetched = fetch(source, Store(place), {key for e in experiments for key in possible(e)}, ENDED)
        if not fetched.keys:
            names = " or ".join(e.name for e in experiments)
            raise SpecError(f"{source}: it has no cell of {names}", *fetched.problems)
        yield Path(place), fetched.problems


def possible(experiment: Experiment) -> set[str]:
    """The keys of all cells of an experiment and of those that they read, including those of seeds that it may add."""
    firsts = [experiment.cells[row.keys[0]] for row in experiment.rows] if experiment.more_seeds else []
    more = [cell.at(seed) for cell in firsts for seed in experiment.more_seeds]
    return {*experiment.all_cells, *(key for cell in more for key in (cell.key, *read_by([cell])))}
