"""Images that are not here any more, as the cells that were trained on them recorded them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ablate.config.profile import ARCHIVES, Data, Profile
from ablate.core.errors import SpecError
from ablate.core.files import read_json
from ablate.data import datasets

PATHS = "path", "test_path"
RECORDS = "records.jsonl"


class Known(NamedTuple):
    """The images of a recorded cell: what its profile says of them, their fingerprint and shape (C, H, W)."""

    data: Data
    fingerprint: str
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Recorded:
    """A profile as recorded cells have it, to plan where its images are not at hand."""

    profile: Profile
    fingerprint: str
    shape: tuple[int, int, int]


def recorded_images(profile: Profile, runs: Path | None, records: Path | None, notes: list[str]) -> Recorded:
    """A profile's images as they are or, if `records` has no cell of them or they are gone, as cells had them.

    Args:
        notes: gets a line if they are not those that are here.
    Raises:
        SpecError: the images cannot be read, and no cell with the same settings is recorded.
    """
    here, reason = None, f"{records}: no cell was trained on the images that are here"
    try:
        here = Recorded(profile, datasets.fingerprint(profile.data), datasets.shape(profile.data))
    except SpecError as error:
        reason = error.problems[0]
    source = records or (None if here else runs)
    found = images(profile.data, source) if source else []
    if here and (not found or here.fingerprint in {known.fingerprint for known in found}):
        return here
    if not found:
        raise SpecError(reason)
    data, mark, shape = found[0]
    notes.append(f"{reason}: the cells trained on images {mark} are shown")
    return Recorded(profile.model_copy(update={"data": data}), mark, shape)


def images(data: Data, source: Path) -> list[Known]:
    """The images that recorded cells with the same settings had, the newest first, each once.

    The folders that the images were in may differ, but not the names of their files; CIFAR-10 may be in archives.

    Args:
        source: a folder of cells, a records file, or a folder with one.
    """
    wanted, found = _portable(data), dict[str, Known]()
    for config in _configs(source):
        # no config: the command that reads the cells says so
        with suppress(LookupError, TypeError, ValueError):
            had, mark = Data.model_validate(config["profile"]["data"]), config["fingerprint"]
            size = had.resolution or 0
            # older versions did not write it
            channels, height, width = map(int, config.get("image_shape") or (3, size, size))
            if height and _portable(had) == wanted:
                same = data.model_copy(update={name: getattr(had, name) for name in ("name", *PATHS)})
                found.setdefault(mark, Known(same, mark, (channels, height, width)))
    return list(found.values())


def _configs(source: Path) -> Iterator[Any]:
    file = source / RECORDS if source.is_dir() else source
    if file.is_file():
        with suppress(OSError, UnicodeDecodeError):
            for line in file.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, LookupError, TypeError, RecursionError):
                    yield json.loads(line)["config"]
        return
    for config in sorted(source.glob("*/config.json"), key=lambda path: -path.stat().st_mtime):
        if isinstance(plain := read_json(config), dict) and "image_shape" in plain:
            yield plain


def _portable(data: Data) -> dict[str, Any]:
    """What decides the pixels, without the folders of the files."""
    plain = data.model_dump(exclude={"max_pixels", "device_mb"})
    plain |= {name: Path(plain[name]).name for name in PATHS if plain[name]}
    if plain["name"] == "cifar10" or plain["path"] == ARCHIVES[0]:
        plain |= {"name": "cifar10", "path": None, "test_path": None}
    return plain
