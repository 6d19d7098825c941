"""What a runs directory holds, how large it is, and what of it may go."""

from __future__ import annotations

import contextlib
import csv
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock

from ablate.core import hint
from ablate.core.errors import SpecError
from ablate.core.files import read_json
from ablate.data import kept
from ablate.planning.experiment import Experiment
from ablate.runs import heartbeat
from ablate.runs.store import NAMED, Folder, Store, beginning

TRASH = ".trash"  # in the runs directory: what was taken out of it and is being deleted
TABLES = "table.csv"
AGAIN = "doctor-*.json", "fidelity/*"  # of the cache: computed again when they are needed


@dataclass(frozen=True)
class Held:
    """A cell, or a part of the cache, whose `key` is then empty.

    state: of a cell, as `status` has it. age: seconds since it was last changed. why: it may go.
    """

    path: str
    key: str
    experiment: str
    row: str
    seed: int | None
    state: str
    bytes: int
    age: float
    why: str = ""

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def cells(store: Store, reports: Path) -> list[Held]:
    """All cells, those of an experiment together. What a cell is called is in its folder or in a report's table."""
    tables, keys = _tables(reports), store.keys()
    found = [_cell(store.folder(key), tables) for key in keys]
    return sorted(found, key=lambda held: (held.experiment, held.row, held.seed or 0, held.key))


def _cell(folder: Folder, tables: dict[str, tuple[str, str]]) -> Held:
    config, record, named = (read_json(p) or {} for p in (folder.config, folder.record, folder.path / NAMED))
    experiment, row = (named["experiment"], named["row"]) if named else tables.get(folder.key, ("", ""))
    size, changed = _size(folder.path)
    state = record.get("state") or heartbeat.state(folder)
    return Held(
        str(folder.path), folder.key, experiment, row, config.get("seed"), state, size, time.time() - changed
    )


def _tables(reports: Path) -> dict[str, tuple[str, str]]:
    """Key -> experiment and row, from the tables of reports: older versions wrote no names beside their cells."""
    found = dict[str, tuple[str, str]]()
    for file in sorted(reports.rglob(TABLES)):
        with (
            contextlib.suppress(OSError, ValueError, csv.Error),
            file.open(encoding="utf-8", newline="") as lines,
        ):
            for line in csv.DictReader(lines):
                for key in (line.get("keys") or "").split():
                    found.setdefault(key, (file.parent.name, line.get("row") or ""))
    return found


def _size(path: Path) -> tuple[int, float]:
    """Bytes on the disk, and when anything in it was last changed."""
    size, changed = 0, 0.0
    inside = (os.path.join(top, name) for top, _, names in os.walk(path) for name in names)
    for name in (os.fspath(path), *inside):
        with contextlib.suppress(OSError):  # removed meanwhile
            about = os.lstat(name)
            size, changed = size + about.st_blocks * 512, max(changed, about.st_mtime)
    return size, changed


def prunable(store: Store, found: Iterable[Held], experiments: Iterable[Experiment]) -> list[Held]:
    """What may go: unfinished cells, what the cache can compute again and, if you name experiments, cells of no other.

    A finished cell of which no experiment is known stays, because a study may have it. While a cell is computed, the
    cache stays as it is.
    """
    found, experiments = list(found), list(experiments)
    named = {key for e in experiments for key in e.all_cells}
    starts = {str(c.recipe.flat().get("init_from.key") or "-") for e in experiments for c in e.cells.values()}
    chosen = list[Held]()
    for held in found:
        known = bool(experiments and held.experiment)
        needed = not known or held.key in named or held.key.startswith(tuple(starts))
        why = (
            "unfinished"
            if held.state in ("open", "stopped", "crashed")
            else ""
            if needed
            else "in none of the files"
        )
        if why and held.state != "running":
            chosen.append(Held(**{**held.plain(), "why": why}))
    if not any(held.state == "running" for held in found):
        chosen += _cached(
            store.path / "cache", {c.fingerprint for e in experiments for c in e.cells.values()}
        )
    return [*chosen, *_left(store)]


def _cached(cache: Path, needed: set[str]) -> Iterator[Held]:
    for mark, place in kept.folders(cache).items():
        if mark not in needed:
            yield _part(place, "images that are decoded again when they are needed")
    for pattern in AGAIN:
        for file in sorted(cache.glob(pattern)):
            yield _part(file, "computed again when it is needed")


def _left(store: Store) -> Iterator[Held]:
    for place in sorted((store.path / TRASH).glob("*")):
        yield _part(place, "left by a command that was interrupted")


def _part(path: Path, why: str) -> Held:
    size, changed = _size(path)
    return Held(str(path), "", "", "", None, "", size, time.time() - changed, why)


def named(store: Store, found: Iterable[Held], keys: Iterable[str]) -> list[Held]:
    """The cells with these keys, or with keys that begin so.

    Raises:
        SpecError: no cell or several begin so, or one is being computed.
    """
    by_key, chosen, problems = {held.key: held for held in found}, dict[str, Held](), list[str]()
    for typed in keys:
        fits = beginning(by_key, typed)
        if len(fits) != 1:
            how = f"{len(fits)} cells have keys that begin so" if fits else f"no such cell in {store.path}"
            problems.append(
                f"{typed!r}: {how}; {hint.command('runs list', keep=(hint.RUNS, hint.REPORTS))} shows all"
            )
        elif by_key[fits[0]].state == "running":
            problems.append(f"{fits[0]}: it is being computed")
        else:
            chosen[fits[0]] = by_key[fits[0]]
    if problems:
        raise SpecError(*problems)
    return [*chosen.values()]


def remove(store: Store, chosen: Iterable[Held]) -> Iterator[Held]:
    """Remove cells and parts of the cache, each in one step for everybody else; those that were removed.

    A cell that has been started since is left alone.
    """
    trash = store.path / TRASH
    trash.mkdir(exist_ok=True)
    for held in chosen:
        path, hidden = Path(held.path), trash / f"{Path(held.path).name}-{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError):
            if held.key and not _taken(Folder(path), hidden):
                continue
            if not held.key:
                os.rename(path, hidden)
            if hidden.is_dir():
                shutil.rmtree(hidden, ignore_errors=True)
            else:
                hidden.unlink()
            yield held
    with contextlib.suppress(OSError):  # not empty: a file could not be deleted
        trash.rmdir()


def _taken(folder: Folder, hidden: Path) -> bool:
    """Take a cell's folder out of the store, unless a worker computes it here or on another machine."""
    if not folder.path.is_dir():  # a lock would make it
        return False
    try:
        with folder.lock().acquire(timeout=0):
            if heartbeat.running_elsewhere(folder):
                return False
            os.rename(folder.path, hidden)
            return True
    except filelock.Timeout:
        return False
