"""The folder of a report, and what it is of, so that no report is replaced by another."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.core.files import read_json, write_json
from ablate.planning.experiment import Experiment
from ablate.runs import records_file

OF = "of.json"  # what the folder is of: an experiment file, a profile, `--set`
TABLE = "table.csv"  # every report has one, that of a study too


@dataclass(frozen=True)
class Place:
    """The folder that a report goes to; `note` says why, if it is not the usual one."""

    folder: Path
    note: str = ""


def find(experiment: Experiment, reports: Path) -> Place:
    """The folder of an experiment's or a study's report; nothing is written.

    Reports on the file's own profile go to `reports/NAME`, those on another to `reports/PROFILE/NAME`. Where the usual
    folder holds a report with other `--set`, it goes to a folder of its own beside it.

    Raises:
        SpecError: the folder is that of another file with the same name.
    """
    places = [*_candidates(experiment, Path(reports))]
    free = list[Path]()
    for folder, usual in places:
        state = _state(experiment, folder)
        if state == "own":
            return Place(folder)
        if state == "free" and usual:
            free.append(folder)
    first = places[0][0]
    if not free:
        raise SpecError(f"{first} holds another report: choose another --reports-dir, or remove that folder")
    other = read_json(first / OF) or {}
    what = " ".join(
        [
            f"profile {other.get('profile')}",
            *(f"--set {k}={v}" for k, v in other.get("set", {}).items()),
        ]
    )
    note = f"{first} holds the report on {what if other else 'other cells'}; this one goes to {free[0]}"
    return Place(free[0], "" if free[0] == first else note)


def claim(experiment: Experiment, reports: Path) -> Path:
    """The folder of `find`, which from now on is the experiment's.

    Raises:
        SpecError: it is another file's, or it cannot be made.
    """
    folder = find(experiment, reports).folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if read_json(folder / OF) != (content := _content(experiment, folder)):
            write_json(folder / OF, content)
    except OSError as error:
        raise SpecError(f"{folder}: {(error.strerror or str(error)).lower()}") from None
    return folder


def _candidates(experiment: Experiment, reports: Path) -> Iterator[tuple[Path, bool]]:
    """Folders in order, and whether a new report may go there."""
    name, profile, own = experiment.name, experiment.profile.name, experiment.origin.own
    by_profile = reports / re.sub(r"[^A-Za-z0-9_.-]|^\.+", "_", profile) / name
    if own:
        yield reports / name, True
    yield by_profile, not own
    chosen = [profile, dict(experiment.origin.overrides)]
    digest = hashlib.sha256(json.dumps(chosen, sort_keys=True, default=str).encode()).hexdigest()[:8]
    yield (reports / name if own else by_profile).with_name(f"{name}-{digest}"), True


def _content(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """`of.json`. Paths are relative, so that a clone or a project may be moved with its reports."""
    origin, place = experiment.origin, folder.resolve()
    profile = os.path.relpath(origin.profile, place) if os.path.isabs(origin.profile) else origin.profile
    plain = json.loads(json.dumps(dict(origin.overrides), default=str))
    return {
        "file": os.path.relpath(experiment.file.resolve(), place),
        "profile": profile or experiment.profile.name,
        "set": plain,
    }


def _state(experiment: Experiment, folder: Path) -> str:
    """`own`: the experiment's report; `free`: it holds no report; `other`: one on another profile or `--set`.

    Raises:
        SpecError: it is the report of another file.
    """
    of = read_json(folder / OF)
    if not isinstance(of, dict) or "file" not in of:  # none, or of a version that did not write it
        if not (folder / TABLE).exists():
            return "free"
        return "own" if _shares_cells(experiment, folder, True) else "other"
    file = (folder.resolve() / of["file"]).resolve()
    if file != experiment.file.resolve() and not _renamed(experiment, folder, file):
        shown = os.path.relpath(file)
        raise SpecError(
            f"{experiment.file}: name: {experiment.name!r}: {folder} holds the report of {shown}: "
            "choose another name or another --reports-dir"
        )
    content = _content(experiment, folder)
    if (of.get("profile"), of.get("set")) == (content["profile"], content["set"]):
        return "own"
    return "other" if (folder / TABLE).exists() else "free"


def _renamed(experiment: Experiment, folder: Path, before: Path) -> bool:
    """Whether the experiment's file is the one that had another path before, or an exact copy of it."""
    try:
        taken = yaml_files.mapping(yaml_files.read(before), "").get("name") == experiment.name
        copied = before.read_bytes() == experiment.file.read_bytes()
    except (SpecError, OSError):
        taken, copied = before.exists(), False
    shared = _shares_cells(experiment, folder, not (folder / TABLE).exists() or not experiment.cells)
    return shared and (copied or not taken)


def _shares_cells(experiment: Experiment, folder: Path, unknown: bool) -> bool:
    """Whether the report shows a cell of the experiment; `unknown` where it does not say which it shows."""
    try:
        keys = {key for key, _ in records_file.offers(folder) if key}
    except SpecError:
        return unknown
    return not keys.isdisjoint(experiment.cells) if keys else unknown
