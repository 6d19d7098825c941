"""Notes in a cell's folder of what MLflow already has, and what is new since; reads only the disk."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ablate.core.files import atomic_write
from ablate.evaluation.metrics import METRICS

NOTES = "mlflow.json"
# files of points, and the field that is their x-axis
POINTS, USAGE = ("metrics.jsonl", "images"), ("usage.jsonl", "look")
# logged when a cell has ended, besides its sample grids
FILES = ("config.json", POINTS[0], USAGE[0], "log.txt", "record.json")
MODEL = "model.safetensors"
LEVELS = "levels.csv"  # the numbers of single noise levels, which would be dozens of charts
LEVEL = re.compile(r"_sigma_\d+$")


@dataclass
class Sent:
    """What a view (an experiment in a store) has of a folder."""

    run: str = ""
    store: int | None = None
    described: bool = False  # parameters and data set
    offset: int = 0  # bytes of metrics.jsonl
    usage: int = 0  # bytes of usage.jsonl
    time: int = 0  # of the last line, ms
    last: dict[str, list[float]] = field(default_factory=dict)  # images and value of each metric's last point
    samples: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    content: int = 0  # checksum of the record
    model: str = ""  # MLflow's id of the cell's model
    state: str = ""

    @classmethod
    def load(cls, folder: Path, view: str) -> Sent:
        """The notes in `folder`, or empty ones."""
        try:
            return cls(**read(folder / NOTES)[view])
        except (KeyError, TypeError):
            return cls()

    def save(self, folder: Path, view: str) -> None:
        """Replace the notes of this view in `folder`; those of other views are kept."""
        content = json.dumps({**(read(folder / NOTES) or {}), view: asdict(self)})  # values may be infinite
        with atomic_write(folder / NOTES) as temporary:
            temporary.write_text(content)

    def covers(self, folder: Path, tags: Mapping[str, str], running: bool) -> bool:
        """Whether the view has everything in `folder`."""
        return (
            self.state == state(folder, running)
            and self.content == content(folder)
            and self.offset == lines(folder, self.offset)[1]
            and self.usage == lines(folder, self.usage, USAGE[0])[1]
            and self.samples == samples(folder)
            and tags.items() <= self.tags.items()
        )


def read(file: Path) -> Any:
    """The content of a JSON file; None if it is missing or incomplete."""
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def checksum(files: Iterable[Path], more: object = None) -> int:
    """One checksum of files and of the files in folders; missing ones are skipped."""
    total = zlib.crc32(repr(more).encode())
    for root in files:
        for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if file.is_file():
                total = zlib.crc32(file.read_bytes(), zlib.crc32(file.name.encode(), total))
    return total


def content(folder: Path) -> int:
    """A checksum of the record and the names of FILES, so that a view with fewer files is brought up to date."""
    return checksum([folder / "record.json"], FILES)


def state(folder: Path, running: bool) -> str:
    """A cell's state: that of its record, else `running` or `killed`."""
    record = read(folder / "record.json")
    return str(record["state"]) if record else "running" if running else "killed"


def samples(folder: Path) -> list[str]:
    """The names of the sample grids."""
    return sorted(p.name for p in folder.glob("samples/*.png"))


def lines(folder: Path, offset: int, name: str = POINTS[0]) -> tuple[bytes, int]:
    """The complete lines after `offset`, and where they end; all lines if the file became shorter."""
    try:
        with (folder / name).open("rb") as file:
            offset = offset if offset <= file.seek(0, os.SEEK_END) else 0
            file.seek(offset)
            text = file.read()
    except FileNotFoundError:
        return b"", 0
    complete = text[: text.rfind(b"\n") + 1]
    return complete, offset + len(complete)


def points(
    text: bytes, last: dict[str, list[float]], over: str = POINTS[1]
) -> Iterator[tuple[str, float, int, int]]:
    """Name, value, time in ms and images (or the count `over`) of each point after `last`, which is updated.

    A resumed worker repeats the steps since its checkpoint and gets the same numbers, so repeated points are skipped.
    """
    for raw in text.splitlines():
        try:
            line = json.loads(raw)
            at, when, metrics = int(line[over]), int(line["time"] * 1000), dict(line["metrics"])
        except (ValueError, KeyError, TypeError):
            continue  # a line cut off by a kill, which the next worker continued
        for name, value in metrics.items():
            number = isinstance(value, int | float) and not LEVEL.search(name)
            if number and at > last.get(name, [-1])[0]:
                last[name] = [at, value]
                yield name, value, when, at


def levels(folder: Path) -> str:
    """The numbers of single noise levels over images as CSV, '' if there are none."""
    found: dict[int, dict[str, Any]] = {}
    for raw in lines(folder, 0)[0].splitlines():
        try:
            line = json.loads(raw)
            own = {name: value for name, value in line["metrics"].items() if LEVEL.search(name)}
            found |= {int(line[POINTS[1]]): own} if own else {}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    text = io.StringIO()
    names = dict.fromkeys(name for own in found.values() for name in own)
    if names:
        writer = csv.DictWriter(text, [POINTS[1], *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows({POINTS[1]: at, **own} for at, own in sorted(found.items()))
    return text.getvalue()


def began(folder: Path) -> int:
    """When a cell's first line was written, in ms; without lines, when its config was written."""
    first = next(points(lines(folder, 0)[0], {}), None)
    return first[2] if first else int((folder / "config.json").stat().st_mtime * 1000)


def results(record: Mapping[str, Any]) -> dict[str, float]:
    """The results of a record by name; of several with the same number of steps, the first."""
    values = {f"{k}_{r['nfe']}step": r.get("value") for k in METRICS for r in reversed(record.get(k) or [])}
    values["wall_s"] = record.get("wall_s")
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def flat(tree: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The leaves of nested mappings by dotted names that begin with `path`."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, Mapping) and value
        leaves |= flat(value, f"{path}.{key}") if nested else {f"{path}.{key}": value}
    return leaves


def text(value: Any) -> str:
    """A value as text for MLflow: strings unchanged, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
