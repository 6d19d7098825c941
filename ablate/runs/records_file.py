"""Records files share finished cells, one per line; cells from elsewhere are checked before they are installed.

A key is a hash of the cell's config, so a record with a wrong config is detected. Its numbers are taken on trust.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock
from pydantic import ValidationError

from ablate.core.errors import SpecError
from ablate.core.files import read_json
from ablate.core.section import explain
from ablate.evaluation import ruler
from ablate.planning.cells import Cell
from ablate.planning.experiment import Experiment
from ablate.runs.record import RESULTS, Record
from ablate.runs.store import FORMAT, Folder, Store, assemble, describe

FILE = "records.jsonl"
KEY = "[0-9a-f]{12}"
Offer = tuple[str, Callable[[Path], Any]]  # a cell's key, and a function that writes its files into a folder


def text(experiment: Experiment, store: Store, before: Path) -> str:
    """The content of an experiment's records file: one line per cell with a record, sorted by key.

    Args:
        before: the existing file. Its lines of other cells are kept, since they may be the only copy.
    """
    lines = {key: line for key in experiment.all_cells if (line := _line(experiment, store, key))}
    with suppress(OSError, UnicodeDecodeError):
        for line in before.read_text(encoding="utf-8").splitlines():
            if key := _offer("", line)[0]:
                lines.setdefault(key, line)
    return "".join(f"{lines[key]}\n" for key in sorted(lines))


def read(file: Path) -> dict[str, dict[str, Any]]:
    """Key -> `config` and `record` of the cells with a result; lines that cannot be read are left out."""
    found = dict[str, dict[str, Any]]()
    with suppress(OSError, UnicodeDecodeError):
        for line in file.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                parts = json.loads(line)
                record = Record.model_validate(parts["record"])
                if record.state in RESULTS and parts["config"]["key"] == record.key:
                    found[record.key] = parts
    return found


def _line(experiment: Experiment, store: Store, key: str) -> str:
    """Config and record as compact JSON; empty without a record."""
    record = store.record(key)
    if record is None:
        return ""
    config = read_json(store.folder(key).config) or describe(experiment.all_cells[key])
    profile = config["profile"]
    config["profile"] = {**profile, "data": _portable(profile["data"])}
    if ruler.named((by := profile["evaluation"])["extractor"]):
        config["profile"]["evaluation"] = {**by, "extractor": Path(by["extractor"]).name}
    parts = {"config": config, "record": record}
    # older versions wrote it
    lean = {n: {k: v for k, v in p.items() if k != "recipe"} for n, p in parts.items()}
    return json.dumps(lean, separators=(",", ":"), allow_nan=False)


def _portable(data: Mapping[str, Any]) -> dict[str, Any]:
    """Names of data files without their folders, which differ between machines and are not part of the key."""
    paths = {k: Path(data[k]).name for k in ("path", "test_path") if data.get(k)}
    return {**data, **paths}


def offers(source: Path) -> Iterator[Offer]:
    """The cells of a records file, or of the records file in a folder.

    Raises:
        SpecError: no such file, or it is not a text file.
    """
    file = source / FILE if source.is_dir() else source
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SpecError(f"{file}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{file}: byte {error.start} is not UTF-8: not a records file") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _offer(f"{file}:{number}", line)


def _offer(place: str, line: str) -> Offer:
    """The cell of a line; writing its files raises the errors of the line."""
    try:
        parts = json.loads(line)
        config, record = dict(parts["config"]), dict(parts["record"])
        key = str(config["key"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        key = ""
    if not re.fullmatch(KEY, key):  # it becomes the name of a folder
        return "", lambda folder: _refuse(f"{place}: not a line of a records file")

    def write(folder: Path) -> None:
        Folder(folder).config.write_text(json.dumps(config))  # unchanged: `check` reports its errors
        Folder(folder).record.write_text(json.dumps(record))

    return key, write


def _refuse(problem: str) -> None:
    raise SpecError(problem)


def check(folder: Folder, key: str) -> dict[str, Any]:
    """Validate a folder from elsewhere and return its record; modules that its config names are not imported.

    Raises:
        SpecError: config or record have another format, or do not match each other or `key`.
    """
    config, record = read_json(folder.config), read_json(folder.record)
    if not isinstance(config, dict) or not isinstance(record, dict) or config.get("format") != FORMAT:
        raise SpecError(f"cell {key}: no config and record of this version")
    try:
        Record.model_validate(record)
    except ValidationError as error:
        raise SpecError(explain(error, f"cell {key}: record", Record).problems[0]) from None
    try:
        json.dumps([config, record], allow_nan=False)
        cell = _assembled(config)
        made = cell.at(cell.seed).key
        flat = json.loads(json.dumps(cell.recipe.flat()))  # older versions wrote it
    except (LookupError, TypeError, ValueError, OSError) as error:  # SpecError among them
        raise SpecError(f"cell {key}: {' '.join(str(error).split())[:200]}") from None
    if {key, config["key"], record["key"]} != {made}:
        raise SpecError(
            f"cell {key}: its config has the key {made}: it was altered, or an older version wrote it"
        )
    if record["seed"] != cell.seed or any(part.get("recipe", flat) != flat for part in (config, record)):
        raise SpecError(f"cell {key}: its record has another recipe or seed than its config")
    return record


def _assembled(config: dict[str, Any]) -> Cell:
    """The cell of a config whose modules are loaded already: a file from elsewhere must not import any."""
    unknown = [name for name in config["imports"] if name not in sys.modules]
    if unknown:
        raise SpecError(f"it needs the module {unknown[0]!r}: name the experiment file that imports it")
    return assemble(config)


def install(made: Folder, folder: Folder) -> bool:
    """Move a cell's files into its folder, the record last; False if a record is there or a worker computes the cell.

    Files of an unfinished training are removed first: numbers, curves and weights must come from one run.
    """
    with suppress(OSError):  # the folder is not empty: the cell was started here
        os.rename(made.path, folder.path)
        return True
    try:
        with folder.lock().acquire(timeout=0):
            if folder.recorded:
                return False
            folder.clear()
            return _fill(made, folder)
    except filelock.Timeout:
        return False


def _fill(made: Folder, folder: Folder) -> bool:
    files = [p for p in made.path.rglob("*") if p.is_file()]
    for file in sorted(files, key=lambda p: p == made.record):
        target = folder.path / file.relative_to(made.path)
        target.parent.mkdir(exist_ok=True)
        os.replace(file, target)
    return True
