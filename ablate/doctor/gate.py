"""`doctor` for the command line, and before `run`: a recipe's verdict is kept, so that it is examined once."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ablate
from ablate.config import recipe as recipes
from ablate.config.recipe import Recipe
from ablate.core.errors import SpecError
from ablate.core.files import read_json, write_json
from ablate.core.hardware import PRELOAD, devices, use
from ablate.doctor.findings import line
from ablate.planning.cells import Cell
from ablate.planning.experiment import Experiment
from ablate.runs.store import Store, describe, restore

FORMAT = 1  # of the verdicts; another one forgets those that are kept
STOPS = ("failed", "error")


def command(experiment: Experiment, as_json: bool, compiled: bool) -> int:
    """Print every finding of an experiment's recipes; the exit code."""
    from ablate.doctor.examine import examine

    rows, device = [], _device()
    for label, recipe in distinct(experiment).items():
        found = examine(label, recipe, experiment.profile, device, compiled)
        rows += found
        if not as_json:
            print("\n".join(map(line, found)), flush=True)
    print(json.dumps(rows, indent=1) if as_json else closing(rows))
    return int(any(row["verdict"] in STOPS for row in rows))


def closing(rows: list[dict[str, Any]]) -> str:
    """The last line of `doctor`."""
    verdicts = [row["verdict"] for row in rows]
    bad, told = sum(v in STOPS for v in verdicts), sum(v in ("replay", "advice") for v in verdicts)
    return f"{len({r['recipe'] for r in rows})} recipes, {len(rows)} findings: {bad} failed, {told} warnings"


def distinct(experiment: Experiment) -> dict[str, Recipe]:
    """The different recipes of an experiment by the label of the first row that has each."""
    found: dict[str, tuple[str, Recipe]] = {}
    for row in experiment.rows:
        label, taken = row.label, {label for label, _ in found.values()}
        label = f"{label} ({row.keys[0]})" if label in taken else label
        found.setdefault(row.keys[0], (label, row.recipe))
    return dict(found.values())


def _device() -> str:
    return "cpu" if devices() == ["cpu"] else "cuda"


def admit(
    experiment: Experiment, store: Store, say: Callable[[str], Any], retry_failed: bool = False
) -> None:
    """Examine the recipes that `run` is about to train; nothing to do for those that are finished.

    Runs in a process that is forked from the server of the workers, for this one has not imported torch.

    Raises:
        SpecError: the checks that fail without being a replay.
    """
    cells = {
        verdict_path(store, cell): cell
        for cell in experiment.cells.values()
        if _missing(store, cell, retry_failed)
    }
    new = {str(path): describe(cell) for path, cell in cells.items() if read_json(path) is None}
    if new:
        _fork(new)
    _tell({path: read_json(path) for path in cells}, cells, experiment, say)


def _tell(
    verdicts: dict[Path, Any], cells: dict[Path, Cell], experiment: Experiment, say: Callable[[str], Any]
) -> None:
    """Say the warnings, raise the failures."""
    labels = {key: row.label for row in reversed(experiment.rows) for key in row.keys}
    unknown = {labels[cell.key] for path, cell in cells.items() if verdicts[path] is None}
    for label in sorted(unknown):
        say(f"doctor: {label}: could not be examined")
    found = [
        row | {"recipe": labels[cell.key]} for path, cell in cells.items() for row in verdicts[path] or []
    ]
    for row in (r for r in found if not r["ok"] and r["verdict"] != "failed"):
        say(f"doctor: {line(row)}")
    failed = [line(row) for row in found if row["verdict"] == "failed"]
    if failed:
        raise SpecError(*failed, "nothing was trained; --no-doctor trains all the same")


def _missing(store: Store, cell: Cell, retry_failed: bool) -> bool:
    record = store.record(cell.key)
    return record is None or (retry_failed and record["state"] == "failed")


def verdict_path(store: Store, cell: Cell) -> Path:
    """Where the findings of the cell's recipe are kept: one file for all its seeds."""
    data = cell.profile.data.model_dump(mode="json")
    budget = {"doctor": FORMAT, "version": ablate.__version__, "steps": cell.profile.steps, "data": data}
    budget |= {"compile": True} if cell.profile.compile else {}
    return store.cache / f"doctor-{recipes.key(cell.recipe, budget, 0)}.json"


def _fork(cells: dict[str, dict[str, Any]]) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)  # as the workers' pool asks, so both have one server
    process = context.Process(target=_examine, args=(json.dumps(cells), _device()))
    process.start()
    try:
        process.join()
    finally:
        process.terminate()


def _examine(cells: str, device: str) -> None:
    """Examine recipes and keep their findings; in a session of its own, as workers are."""
    os.setsid()
    from ablate.doctor.examine import examine

    use(1)
    for path, config in json.loads(cells).items():
        cell = restore(config)
        write_json(Path(path), examine("", cell.recipe, cell.profile, device))
