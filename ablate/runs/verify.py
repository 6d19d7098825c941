"""Computes recorded cells once more and compares: equal, within what is known between processors, or different."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ablate.config.profile import Data, placed
from ablate.core.errors import SpecError
from ablate.core.files import write_json
from ablate.core.hardware import cores, devices, use
from ablate.evaluation.metrics import FACTS, METRICS
from ablate.planning.cells import Cell
from ablate.runs import worker
from ablate.runs.store import Store, beginning, restore

EQUAL, CLOSE, DIFFERENT = "equal", "within the bound", "different"
OPEN = "not equal, no bound is known"  # decides nothing
BOUND = 0.04  # of the difference of log FIDs between processors, see docs/rulers.md


@dataclass(frozen=True)
class Compared:
    """A recorded value and that of this machine, None where one has none."""

    metric: str
    nfe: int
    recorded: float | None
    here: float | None
    state: str


@dataclass(frozen=True)
class Verified:
    """A cell that was computed again. `why`: what differs between the machines and their software, a line each."""

    key: str
    state: str  # the worst of its values
    values: list[Compared]
    why: list[str]

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def again(config: Mapping[str, Any], recorded: Mapping[str, Any], store: Store, data: Data) -> Verified:
    """Compute a recorded cell in `store`, after those that it needs, and compare it with its record.

    Args:
        data: where the images of the cell are on this machine.
    Raises:
        SpecError: images, code or weights are not those of the cell.
    """
    cell = _placed(restore(dict(config)), data)
    threads = (recorded.get("provenance") or {}).get("threads")
    use(threads or cell.profile.threads or cores())
    with contextlib.redirect_stdout(sys.stderr):
        return compare(recorded, _computed(cell, store))


def _placed(cell: Cell, data: Data) -> Cell:
    """The cell, and those that it needs, with images at a place of this machine."""
    needs = {axis: _placed(need, data) for axis, need in cell.needs.items()}
    return replace(cell, profile=cell.profile.model_copy(update={"data": data}), needs=needs)


def _computed(cell: Cell, store: Store) -> dict[str, Any]:
    """The record of a cell in `store`, which is computed unless it is there."""
    if known := store.record(cell.key):
        return known
    for need in cell.needs.values():
        _computed(need, store)
    folder = store.prepare(cell)
    record = worker.compute(cell, folder, devices()[0])
    write_json(folder.record, record)
    return record


def here(cell: Cell, moved: Mapping[str, Any]) -> Data:
    """Where a cell's images are on this machine: in CIFAR-10's folder, or as `moved` says.

    Args:
        moved: `path` and `test_path` of images that a records file knows by their names only.
    """
    data = cell.profile.data
    usual = placed(Data(name="cifar10", path=moved.get("path")))
    same = data.path and usual.path and Path(data.path).name == Path(usual.path).name
    places = {"path": usual.path, "test_path": usual.test_path} if same else moved
    return data.model_copy(update={k: v for k, v in places.items() if v})


def compare(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> Verified:
    """Compare two records of the same cell."""
    values = [
        _compared(metric, entry, found.get(metric) or [])
        for metric in METRICS
        for entry in recorded.get(metric) or []
        if not entry.get("again")
    ]
    why = _differences(recorded, found)
    if recorded["state"] != found["state"]:
        why.insert(0, f"it is {recorded['state']} there and {found['state']} here")
    states = {v.state for v in values} | ({DIFFERENT} if recorded["state"] != found["state"] else set())
    worst = next((state for state in (DIFFERENT, CLOSE, OPEN) if state in states), EQUAL)
    return Verified(recorded["key"], worst, values, [] if worst == EQUAL else why)


def _compared(metric: str, entry: Mapping[str, Any], others: list[Any]) -> Compared:
    same = [o for o in others if all(o.get(f) == entry.get(f) for f in ("nfe", *FACTS))]
    if not same:
        return Compared(metric, entry["nfe"], entry["value"], None, DIFFERENT)
    a, b = entry["value"], same[0]["value"]
    state = EQUAL if a == b else OPEN
    if state == OPEN and metric == "fid":
        state = CLOSE if a > 0 and b > 0 and abs(math.log(a / b)) <= BOUND else DIFFERENT
    return Compared(metric, entry["nfe"], a, b, state)


def _differences(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    a, b = (_facts(record) for record in (recorded, found))
    return [
        f"{name}: {a.get(name)} there, {b.get(name)} here"
        for name in {**a, **b}
        if a.get(name) != b.get(name)
    ]


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    origin = record.get("provenance") or {}
    known = {"extractor": (record.get("floor") or {}).get("extractor"), **(origin.get("versions") or {})}
    return known | {name: origin.get(name) for name in ("device", "threads", "ranks", "compiled", "commit")}


def chosen(lines: Mapping[str, Any], keys: list[str], count: int) -> list[str]:
    """The keys to compute: those that `keys` begin, or the first `count`, which hashes make a random choice.

    Raises:
        SpecError: no cell, or more than one, begins so.
    """
    found = []
    for key in keys:
        matches = beginning(lines, key)
        if len(matches) != 1:
            raise SpecError(f"{key or repr(key)}: {len(matches)} cells of the report begin with this")
        found += matches
    return found or sorted(lines)[:count]
