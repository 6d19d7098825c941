"""Everything about an archive or a folder that is known without decoding it: images, classes, headers, content."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ablate.config.profile import CACHED
from ablate.core.errors import SpecError
from ablate.core.files import atomic_write
from ablate.data import archives
from ablate.data.archives import FORMATS, KEY, Item, encoded, shown
from ablate.data.pictures import Header, headers, too_large, unreadable

LARGEST = 64 * 2**20  # bytes of a file, or as many as `max_pixels` pixels have
LISTED = 3  # of the files with a problem, in a message
YOUNG_NS = 10**9  # a file may change again within one tick of the disk's clock, and nobody would see it
KEPT = 8  # surveys of this process
CACHE = f"{CACHED}/headers"  # what the headers of large sets say, for later commands
MANY = 2000  # images from which on it is worth a file
FILES = 20  # of the cache
FORMAT = 1  # raise it when headers are read in another way

Seen = tuple[Header, str]  # and size and checksum of the file


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

    @classmethod
    def of_arrays(cls, items: list[Item]) -> Survey:
        """The survey of decoded images, which have no headers; `content` is left to the source."""
        return cls(items, {}, [], "", "")


_kept: dict[Path, tuple[int, Survey]] = {}


def survey(path: Path, max_pixels: int) -> Survey:
    """Survey a path; this process reads the files again only if one of them has changed.

    Raises:
        SpecError: it cannot be read, has no images, or has one whose file is too large to be read at all.
    """
    if path.is_file():
        whole = archives.state(path.resolve())
        if _is_old(whole[2]):
            return _of_archive(path, whole, max_pixels)
    return _walked(path, max_pixels)


@functools.lru_cache(maxsize=KEPT)
def _of_archive(path: Path, _whole: archives.State, max_pixels: int) -> Survey:
    """Cached: walking a directory of 50,000 members takes half a second, and a dry run asks twenty times."""
    return _walked(path, max_pixels)


def _walked(path: Path, max_pixels: int) -> Survey:
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
    settled, labelled = _settled(walked.files), archives.labelled(walked, path)
    found = examined(labelled, path, walked.members, archives.reading(labelled, walked))
    if settled:
        while len(_kept) >= KEPT:
            _kept.pop(next(iter(_kept)))
        _kept[path] = state, found
    return found


def _settled(files: Sequence[archives.File]) -> bool:
    """Whether no file can change any more without another time of its last change."""
    return _is_old(max((f.changed for f in files), default=0))


def _is_old(changed: int) -> bool:
    return time.time_ns() - changed > YOUNG_NS


def _seen(images: Sequence[archives.File], path: str | Path, part: str) -> list[Seen]:
    """Header and content of each image: from the cache if no name, size or time of change differs, else from the files.

    A cache that is damaged or cannot be written is as good as none. What cannot be read is looked at every time, and so
    is what may change unseen, and what are few.
    """
    if len(images) < MANY or not _settled(images) or not all(f.changed for f in images):
        return list(headers(images))
    listed = "\n".join(f"{f.name} {f.size} {f.changed}" for f in images)
    listing = digest([f"{FORMAT} {version('pillow')} {Path(path).resolve()}{part}", listed])
    with contextlib.suppress(OSError, RuntimeError, ValueError, LookupError, TypeError):
        file = Path(CACHE).expanduser() / f"{listing[:32]}.json"
        about, _, text = file.read_bytes().partition(b"\n")
        if about.decode() == hashlib.sha256(text).hexdigest():
            kinds, rows = json.loads(text)
            alike = [Header(*kind) for kind in kinds]
            return [(alike[kind], content) for kind, content in rows]
    seen = list(headers(images))
    if not any(header.problem for header, _ in seen):
        with contextlib.suppress(OSError, RuntimeError):
            _keep(seen, Path(CACHE).expanduser() / f"{listing[:32]}.json")
    return seen


def _keep(seen: list[Seen], file: Path) -> None:
    """Write a file of the cache; the oldest ones go."""
    kinds = {header: i for i, header in enumerate(dict.fromkeys(header for header, _ in seen))}
    text = json.dumps([[*kinds], [[kinds[header], content] for header, content in seen]]).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as temporary:
        temporary.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    for old in sorted(file.parent.glob("*.json"), key=os.path.getmtime)[:-FILES]:
        old.unlink(missing_ok=True)


def examined(
    found: archives.Labelled,
    path: str | Path,
    members: Sequence[str] = (),
    reading: Sequence[str] = (),
    part: str = "",
) -> Survey:
    """A survey of labelled images, from their headers.

    Args:
        path: what the images are in, for messages.
        members: what identifies the content instead of the images' names, sizes and checksums.
        reading: what the content is hashed with besides.
        part: which of the images with these names in `path` they are, if there are several.
    Raises:
        SpecError: there are no images.
    """
    left_out = archives.other_kinds(found.left_out)
    if not found.images:
        more = f"; {left_out}" if left_out else ""
        raise SpecError(f"{KEY}: {shown(str(path))!r}: no images ({', '.join(FORMATS)}) in it{more}")
    seen = _seen(found.images, path, part)
    pairs = list(zip(found.images, seen, strict=True))
    lines = [*members] or [f"{file.name} {content}" for file, (_, content) in pairs]
    lines += reading
    lines += ["upright"] if any(h.turned for h, _ in seen) else []
    lines += ["over white"] if any(h.transparent for h, _ in seen) else []
    content = digest(lines)
    items = [(f.name, f.read, label) for f, label in zip(found.images, found.labels, strict=True)]
    alike = dict[Header, Header]()  # most headers are equal: one object for all of them
    by_name = {f.name: alike.setdefault(h, h) for f, (h, _) in pairs}
    return Survey(items, by_name, found.names, left_out, content)


def digest(lines: Sequence[str]) -> str:
    """The hash of everything that decides pixels and labels, a line each."""
    return hashlib.sha256(encoded("\n".join(lines))).hexdigest()


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
