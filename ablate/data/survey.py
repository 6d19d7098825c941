"""Everything about an archive or a folder that is known without decoding it: images, classes, headers, content."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablate.core.errors import SpecError
from ablate.data import archives
from ablate.data.archives import FORMATS, KEY, Item, encoded, shown
from ablate.data.pictures import Header, headers, too_large, unreadable

LARGEST = 64 * 2**20  # bytes of a file, or as many as `max_pixels` pixels have
LISTED = 3  # of the files with a problem, in a message
YOUNG_NS = 10**9  # a file may change again within one tick of the disk's clock, and nobody would see it
KEPT = 8  # surveys of this process


@dataclass(frozen=True)
class Survey:
    """An archive or a folder.

    items: its images by name. headers: by name. names: of the classes, if folders are the classes. left_out: what is
    not read, in words. content: a hash of everything that decides the pixels and the labels.
    """

    items: list[Item]
    headers: dict[str, Header]
    names: list[str]
    left_out: str
    content: str


_kept: dict[Path, tuple[int, Survey]] = {}


def survey(path: Path, max_pixels: int) -> Survey:
    """Survey a path; this process reads the files again only if one of them has changed.

    Raises:
        SpecError: it cannot be read, has no images, or has one whose file is too large to be read at all.
    """
    walked = archives.walk(path)
    most = max(LARGEST, 3 * max_pixels)
    if large := [f for f in walked.files if f.size > most and archives.is_image(f.name)]:
        raise SpecError(
            f"{KEY}: {shown(large[0].name)}: {large[0].size:,} bytes; {KEY}.max_pixels={max_pixels} allows files of "
            f"{most:,}; raise it to read this one"
        )
    state = hash((tuple((f.name, f.size, f.changed) for f in walked.files), walked.broken))
    if path in _kept and _kept[path][0] == state:
        return _kept[path][1]
    found = _survey(path, walked)
    if time.time_ns() - max((f.changed for f in walked.files), default=0) > YOUNG_NS:
        while len(_kept) >= KEPT:
            _kept.pop(next(iter(_kept)))
        _kept[path] = state, found
    return found


def _survey(path: Path, walked: archives.Walked) -> Survey:
    found = archives.labelled(walked, path)
    left_out = archives.other_kinds(found.left_out)
    if not found.images:
        more = f"; {left_out}" if left_out else ""
        raise SpecError(f"{KEY}: {shown(str(path))!r}: no images ({', '.join(FORMATS)}) in it{more}")
    seen = list(headers(found.images))
    pairs = list(zip(found.images, seen, strict=True))
    lines = walked.members or [f"{file.name} {content}" for file, (_, content) in pairs]
    lines += archives.reading(found, walked)
    lines += ["upright"] if any(h.turned for h, _ in seen) else []
    lines += ["over white"] if any(h.transparent for h, _ in seen) else []
    content = hashlib.sha256(encoded("\n".join(lines))).hexdigest()
    items = [(f.name, f.read, label) for f, label in zip(found.images, found.labels, strict=True)]
    return Survey(items, {f.name: h for f, (h, _) in pairs}, found.names, left_out, content)


def problems(seen: Sequence[tuple[str, Header]], max_pixels: int) -> list[str]:
    """Everything that is wrong with these images, a line for each kind."""
    bad = [unreadable(name, header.problem) for name, header in seen if header.problem]
    sizes = [(name, too_large(header.width, header.height, max_pixels)) for name, header in seen]
    large = [f"{shown(name)}: {reason}" for name, reason in sizes if reason]
    return [f"{KEY}: {_listed(lines)}" for lines in (bad, large) if lines]


def _listed(lines: list[str]) -> str:
    more = len(lines) - LISTED
    return "; ".join(lines[:LISTED]) + (f"; and {more:,} more" if more > 0 else "")


def peculiar(headers: Collection[Header]) -> str:
    """What is done to images besides resizing, in words; empty if nothing is."""
    counts = {
        "turned upright by EXIF": sum(h.turned for h in headers),
        "laid over white where transparent": sum(h.transparent for h in headers),
    }
    return "; ".join(f"{n:,} image{'s' * (n > 1)} {done}" for done, n in counts.items() if n)
