"""`webdataset`: shards of samples in tar files, such as 000.jpg beside 000.cls. Nothing is unpacked."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.core.files import typed_path
from ablate.data import archives, survey
from ablate.data.archives import KEY, File, Labelled, State, Walked, shown
from ablate.data.sources import Source
from ablate.data.survey import Survey

CLASS, ABOUT = ".cls", ".json"  # files of a sample: its class number; a mapping with its class
KEYS = ("label", "cls", "class")  # of that mapping, unless `label` names another


class WebDataset(Source, name="webdataset"):
    """`path` is a tar file, a folder of them, or a pattern such as `shards/{000..012}.tar`.

    Without .cls and .json files, classes are folders or dataset.json, as in an archive.
    """

    takes = ("path", "test_path", "holdout", "label")

    def surveys(self, spec: Data) -> list[Survey]:
        keys = [key for key in ("path", "test_path") if getattr(spec, key) is not None]
        return [_survey(_shards(spec, key), spec.label) for key in keys]


def _shards(spec: Data, key: str) -> tuple[State, ...]:
    given = str(getattr(spec, key))
    path = typed_path(given, f"{KEY}.{key}")
    found = sorted(path.glob("*.tar")) if path.is_dir() else _expanded(path)
    if not found:
        raise SpecError(f"{KEY}.{key}: {given!r}: a folder without .tar files")
    if missing := [p for p in found if not p.is_file()]:
        raise SpecError(f"{KEY}.{key}: {str(missing[0])!r}: no such file or folder")
    return tuple(map(archives.state, found))


def _expanded(path: Path) -> list[Path]:
    """The files of a pattern with ranges {a..b}; the number of digits is that of a."""
    parts = re.split(r"\{(\d+)\.\.(\d+)\}", str(path))
    if path.exists() or len(parts) == 1:
        return [path]
    fixed, bounds = parts[::3], zip(parts[1::3], parts[2::3], strict=True)
    ranges = [[f"{i:0{len(a)}d}" for i in range(int(a), int(b) + 1)] for a, b in bounds]
    return [
        Path("".join(x for pair in itertools.zip_longest(fixed, chosen, fillvalue="") for x in pair))
        for chosen in itertools.product(*ranges)
    ]


@functools.lru_cache(maxsize=8)
def _survey(shards: tuple[State, ...], label: str | None) -> Survey:
    files = [file for shard in shards for file in _members(shard, len(shards) > 1)]
    where, walked = Path(shards[0][0]), Walked(files, [])
    archives.require_once((f.name for f in files), f"{KEY}: {shown(str(where))!r}")
    labels = _labels(files, label)
    if not labels:
        found = archives.labelled(walked, where)
        return survey.examined(found, where, reading=[f"labels {found.labels}"])
    images = sorted((f for f in files if archives.is_image(f.name)), key=lambda f: archives.encoded(f.name))
    if bare := [f.name for f in images if _sample(f.name) not in labels]:
        raise SpecError(
            f"{KEY}: {shown(str(where))}: no class for {shown(bare[0])} and {len(bare) - 1} others"
        )
    if twice := [s for s, n in Counter(_sample(f.name) for f in images).items() if n > 1]:
        raise SpecError(f"{KEY}: {shown(str(where))}: sample {shown(twice[0])} has more than one image")
    numbers = [labels[_sample(f.name)] for f in images]
    others = Counter(Path(f.name).suffix.lower() or "without an ending" for f in files if not _read(f.name))
    return survey.examined(Labelled(images, numbers, [], others), where, reading=[f"labels {numbers}"])


def _read(name: str) -> bool:
    return archives.is_image(name) or name.endswith((CLASS, ABOUT))


def _members(shard: State, several: bool) -> list[File]:
    """The regular files of a shard, each with a reader of its own place in it; none is followed or unpacked."""
    path, _, changed = shard
    prefix = f"{Path(path).name}/" if several else ""
    try:
        with tarfile.open(path, "r:") as members:  # uncompressed, so that every member has a place
            return [
                File(
                    prefix + m.name.removeprefix("./"),
                    m.size,
                    changed,
                    functools.partial(_at, path, m.offset_data, m.size),
                )
                for m in members
                if m.isreg() and not archives.hidden(m.name)
            ]
    except (tarfile.TarError, OSError, EOFError) as error:
        said = " ".join(str(error).split())[:120]
        raise SpecError(f"{KEY}: {shown(path)!r}: no readable tar file without compression: {said}") from None


def _at(path: str, offset: int, size: int) -> bytes:
    with open(path, "rb") as file:
        content = os.pread(file.fileno(), size, offset)
    if len(content) != size:
        raise OSError("the shard ends early")
    return content


def _sample(name: str) -> str:
    """The name of a sample: up to the first dot of the last part, as webdataset has it."""
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.split('.')[0]}"


def _labels(files: list[File], key: str | None) -> dict[str, int]:
    """Sample -> class, by its .cls file, else by its .json file; empty if no sample has one."""
    found, keys = dict[str, int](), (key,) if key else KEYS
    for ending in (CLASS, ABOUT):
        for file in (f for f in files if f.name.endswith(ending) and not f.name.endswith(archives.LABELS)):
            value = _value(file, ending, keys)
            if value is not None:
                found.setdefault(_sample(file.name), value)
    return found


def _value(file: File, ending: str, keys: tuple[str, ...]) -> int | None:
    try:
        value: Any = json.loads(file.read())
        if ending == ABOUT:
            value = next((value[k] for k in keys if k in value), None)
    except Exception as error:  # any content
        raise SpecError(f"{KEY}: {shown(file.name)}: no class: {error!r:.80}") from None
    if value is None or archives.is_class(value):
        return value
    raise SpecError(f"{KEY}: {shown(file.name)}: {value!r:.40} is no class number")
