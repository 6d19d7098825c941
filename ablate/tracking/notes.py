"""What a view has of a cell's folder, noted in the folder; what is new since, read from disk alone."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ablate.evaluation.metrics import METRICS

NOTES = "mlflow.json"
POINTS, USAGE = (
    ("metrics.jsonl", "images"),
    ("usage.jsonl", "look"),
)  # files of points, and what they are over
# of a cell that ended, besides its samples
FILES = ("config.json", POINTS[0], USAGE[0], "log.txt", "record.json")
MODEL = "model.safetensors"


@dataclass
class Sent:
    """What a view (a store and an experiment) has of a folder."""

    run: str = ""
    store: int | None = None
    described: bool = False  # parameters and data set
    offset: int = 0  # bytes of metrics.jsonl
    usage: int = 0  # bytes of usage.jsonl
    time: int = 0  # of the last line, ms
    last: dict[str, list[float]] = field(default_factory=dict)  # images and value of each metric's last point
    samples: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    content: int = 0  # checksum of what ended it
    model: str = ""  # MLflow's id of the cell's model
    state: str = ""

    @classmethod
    def load(cls, folder: Path, view: str) -> Sent:
        """The notes in `folder`; blank ones where there are none."""
        try:
            return cls(**read(folder / NOTES)[view])
        except (KeyError, TypeError):
            return cls()

    def save(self, folder: Path, view: str) -> None:
        """Replace the notes in `folder`, those of other views kept."""
        fresh = folder / f"{NOTES}.{os.getpid()}"
        fresh.write_text(json.dumps({**(read(folder / NOTES) or {}), view: asdict(self)}))
        os.replace(fresh, folder / NOTES)

    def covers(self, folder: Path, tags: Mapping[str, str], running: bool) -> bool:
        """Whether nothing in `folder` is new."""
        return (
            self.state == state(folder, running)
            and self.content == content(folder)
            and self.offset == lines(folder, self.offset)[1]
            and self.usage == lines(folder, self.usage, USAGE[0])[1]
            and self.samples == samples(folder)
            and tags.items() <= self.tags.items()
        )


def read(file: Path) -> Any:
    """The JSON in a file; None where there is none that is whole."""
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def checksum(files: Iterable[Path], more: object = None) -> int:
    """One number for the content of files and of folders; a missing one counts as nothing."""
    total = zlib.crc32(repr(more).encode())
    for root in files:
        for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if file.is_file():
                total = zlib.crc32(file.read_bytes(), zlib.crc32(file.name.encode(), total))
    return total


def content(folder: Path) -> int:
    """One number for what ended a cell; with the files' names, so that a view with fewer is brought up to date."""
    return checksum([folder / "record.json"], FILES)


def state(folder: Path, running: bool) -> str:
    """A cell's state: that of its record, else whether a worker is on it."""
    record = read(folder / "record.json")
    return str(record["state"]) if record else "running" if running else "killed"


def samples(folder: Path) -> list[str]:
    """The names of the sample grids."""
    return sorted(p.name for p in folder.glob("samples/*.png"))


def lines(folder: Path, offset: int, name: str = POINTS[0]) -> tuple[bytes, int]:
    """The whole lines behind `offset` and where they end; all of them if the file became shorter."""
    try:
        with (folder / name).open("rb") as file:
            offset = offset if offset <= file.seek(0, os.SEEK_END) else 0
            file.seek(offset)
            text = file.read()
    except FileNotFoundError:
        return b"", 0
    whole = text[: text.rfind(b"\n") + 1]
    return whole, offset + len(whole)


def points(
    text: bytes, last: dict[str, list[float]], over: str = POINTS[1]
) -> Iterator[tuple[str, float, int, int]]:
    """Name, value, time in ms and images (or another count, `over`) of each point behind `last`, which is moved on.

    A resumed worker repeats what it did since its checkpoint; the same steps give the same numbers.
    """
    for raw in text.splitlines():
        try:
            line = json.loads(raw)
            at, when, metrics = int(line[over]), int(line["time"] * 1000), dict(line["metrics"])
        except (ValueError, KeyError, TypeError):
            continue  # half a line of a killed worker, which its successor wrote on
        for name, value in ((shown(n), v) for n, v in metrics.items()):
            if isinstance(value, int | float) and at > last.get(name, [-1])[0]:
                last[name] = [at, value]
                yield name, value, when, at


def shown(name: str) -> str:
    """A metric's name in MLflow: those of single noise levels, which are many, have a section that folds."""
    return f"levels/{name}" if re.search(r"_sigma_\d+$", name) else name


def began(folder: Path) -> int:
    """When a cell's first line was written, in ms; before there is one, when the cell was configured."""
    first = next(points(lines(folder, 0)[0], {}), None)
    return first[2] if first else int((folder / "config.json").stat().st_mtime * 1000)


def results(record: Mapping[str, Any]) -> dict[str, float]:
    """The final numbers of a record by name; of several with the same number of steps, the first."""
    found = {f"{k}_{r['nfe']}step": r.get("value") for k in METRICS for r in reversed(record.get(k) or [])}
    found["wall_s"] = record.get("wall_s")
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def flat(tree: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A tree of mappings by dotted names behind `path`; other values stay whole."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, Mapping) and value
        found |= flat(value, f"{path}.{key}") if nested else {f"{path}.{key}": value}
    return found


def text(value: Any) -> str:
    """A value as the text that MLflow stores: words as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
