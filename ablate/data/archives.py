"""The files of an archive or a folder: which of them are images, their classes, and what is left out."""

from __future__ import annotations

import functools
import itertools
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from ablate.core.errors import SpecError

KEY = "profile.data"  # the place of the spec, for error messages
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
LABELS = "dataset.json"
LARGEST_LABELS = 512 * 2**20  # bytes of dataset.json
CLASSES = 10**6  # more than any class number

State = tuple[str, int, int]  # of a file: path, size, time of the last change


class File(NamedTuple):
    """A file of an archive or a folder.

    name: its path below the root, with slashes. `encoded` turns it into the bytes that the disk has, under any locale.
    changed: differs after every change of its content; 0 if that is not known.
    """

    name: str
    size: int
    changed: int
    read: Callable[[], bytes]


class Walked(NamedTuple):
    """All files but hidden ones.

    members: every name in an archive, with size and checksum. broken: number of links to nothing.
    """

    files: list[File]
    members: list[str]
    broken: int = 0


class Labelled(NamedTuple):
    """Images, sorted by name, with a class number each. names: of the classes, if folders are the classes."""

    images: list[File]
    labels: list[int]
    names: list[str]
    left_out: Counter[str]  # ending -> number of files that are not read


def encoded(name: str) -> bytes:
    """A file's name as bytes, for hashes and for sorting: the same under any locale."""
    return name.encode("utf-8", "surrogateescape")


def shown(name: str) -> str:
    """A file's name for messages: bytes that are not UTF-8, and what cannot be printed, with backslashes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def walk(path: Path) -> Walked:
    """The files of an archive or a folder, except those with a path component that is hidden or `__MACOSX`.

    Raises:
        SpecError: it is no readable zip archive, or a folder cannot be read.
    """
    return _walk_folder(path) if path.is_dir() else _walk_archive(path)


def hidden(name: str) -> bool:
    """Whether a part of a path is one that tools leave behind."""
    parts = (part for part in name.split("/") if part not in (".", ".."))
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def state(path: Path) -> State:
    """What differs after every change of a file."""
    about = path.stat()
    return str(path), about.st_size, about.st_ctime_ns


def is_class(value: Any) -> TypeGuard[int]:
    """Whether a value is a class number."""
    return type(value) is int and 0 <= value < CLASSES


def only(
    key: str,
    named: str | None,
    fitting: Sequence[str],
    kinds: Mapping[str, str],
    what: str,
    place: str = "",
) -> str:
    """The column or array that a key of `Data` names, else the only fitting one; of the labels, '' if none fits.

    Args:
        kinds: of all that there are, in words.
        what, place: what they are and where, for messages: "column of the images".
    Raises:
        SpecError: there is none of this name, or it must be named.
    """
    listed = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
    if named is not None and named not in kinds:
        raise SpecError(f"{KEY}.{key}: {named!r}: no such {what.split()[0]}{place}; there are: {listed}")
    if named is None and (len(fitting) > 1 or (key == "image" and not fitting)):
        raise SpecError(f"{KEY}.{key}: name the {what}: {listed}")
    return named or next(iter(fitting), "")


def require_once(names: Iterable[str], where: str) -> None:
    """Require that no name is there twice.

    Raises:
        SpecError: one is.
    """
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise SpecError(f"{where}: {shown(twice[0])!r} is in it twice")


def _walk_archive(path: Path) -> Walked:
    try:
        status = path.stat()
        archive = _opened(path, status.st_ctime_ns, status.st_size)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise SpecError(f"{KEY}: {str(path)!r}: not a readable zip archive: {str(error).lower()}") from None
    named = [(_with_slashes(i), i) for i in archive.infolist()]
    files = [
        File(name, i.file_size, i.CRC, functools.partial(archive.read, i))
        for name, i in named
        if not name.endswith("/") and not hidden(name)
    ]
    where = f"{KEY}: {shown(str(path))!r}"
    if out := [f.name for f in files if f.name.startswith("/") or ".." in f.name.split("/")]:
        raise SpecError(f"{where}: {shown(out[0])!r} leads out of the archive")
    require_once((f.name for f in files), where)
    return Walked(files, sorted(f"{i.filename} {i.file_size} {i.CRC}" for i in archive.infolist()))


def _with_slashes(member: zipfile.ZipInfo) -> str:
    """The name of a member; some programs for Windows write backslashes between folders."""
    return member.filename.replace("\\", "/") if member.create_system == 0 else member.filename


@functools.lru_cache(maxsize=4)
def _opened(path: Path, _changed: int, _size: int) -> zipfile.ZipFile:
    """Cached: reading a directory of 50,000 members takes a second, and planning needs it several times."""
    return zipfile.ZipFile(path)


def _walk_folder(root: Path) -> Walked:
    """Enter every folder once, however many links lead to it: real folders first, then links by name."""
    files, broken, seen = list[File](), 0, set[tuple[int, int]]()
    folders, links = [("", os.fspath(root))], list[tuple[str, str]]()
    while folders or links:
        links.sort(key=lambda link: encoded(link[0]), reverse=True)
        prefix, place = folders.pop() if folders else links.pop()
        try:
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as found:
                entries = [entry for entry in found if not hidden(entry.name)]
            for entry in entries:
                name = prefix + _in_utf8(entry.name)
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append((f"{name}/", entry.path))
                elif entry.is_file():
                    about = entry.stat()
                    read = functools.partial(_read, entry.path)
                    files.append(File(name, about.st_size, about.st_ctime_ns, read))
                else:
                    broken += 1
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SpecError(
                f"{KEY}: {shown(str(error.filename or place))}: cannot be read: {reason}"
            ) from None
    return Walked(sorted(files, key=lambda f: encoded(f.name)), [], broken)


def _in_utf8(name: str) -> str:
    """The same name as under a UTF-8 locale, so that names are sorted and hashed alike on all machines."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "surrogateescape")


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def labelled(walked: Walked, path: Path) -> Labelled:
    """The images with their classes: by dataset.json if there is one, else by the folders that they are in.

    A folder that holds all images together, as around the content of many archives, is not a class.

    Raises:
        SpecError: dataset.json has another form, or no label for an image.
    """
    ending = {f.name: _ending(f.name) for f in walked.files}
    images = sorted((f for f in walked.files if ending[f.name] in FORMATS), key=lambda f: encoded(f.name))
    about = min(
        (f for f in walked.files if _base(f) == LABELS), key=lambda f: (len(f.name), f.name), default=None
    )
    others = Counter(
        ending[f.name] or "without an ending" for f in walked.files if ending[f.name] not in FORMATS
    )
    if about:
        others -= Counter({".json": 1})
    others += Counter({"broken link": walked.broken})  # `+=` drops zeros
    by_name = about and _read_labels(about, path)
    if by_name:
        where = f"{KEY}: {shown(str(path))}: {LABELS}"
        if bare := [f.name for f in images if f.name not in by_name]:
            raise SpecError(f"{where} has no label for {shown(bare[0])} and {len(bare) - 1} others")
        return Labelled(images, [by_name[f.name] for f in images], [], others)
    tops = [""] * len(images) if about else _tops([f.name for f in images])
    names = sorted(set(tops), key=encoded)
    number = {name: i for i, name in enumerate(names)}
    return Labelled(images, [number[top] for top in tops], names, others)


def is_image(name: str) -> bool:
    """Whether files with this ending are read."""
    return _ending(name) in FORMATS


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _base(file: File) -> str:
    return file.name.rpartition("/")[2]


def _tops(names: Sequence[str]) -> list[str]:
    """The first folder of each path below the folders that all paths have in common."""
    parents = [name.split("/")[:-1] for name in names]
    depth = sum(
        1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, zip(*parents, strict=False))
    )
    return ["".join(parts[depth : depth + 1]) for parts in parents]


def _read_labels(file: File, path: Path) -> dict[str, int]:
    """Name -> class, from a dataset.json; empty if it says that the images have no labels."""
    where = f"{KEY}: {shown(str(path))}: {shown(file.name)}"
    try:
        if file.size > LARGEST_LABELS:
            raise ValueError(f"larger than {LARGEST_LABELS} bytes")
        pairs = json.loads(file.read())["labels"] or []
        prefix = file.name.removesuffix(LABELS)
        labels = {prefix + str(name): label for name, label in pairs}
        differing = [str(name) for name, label in pairs if labels[prefix + str(name)] != label]
    except Exception as error:  # a damaged member, or any other shape of JSON
        raise SpecError(f"{where}: no {{'labels': [[name, class], ...]}}: {error!r:.80}") from None
    if differing:
        raise SpecError(f"{where}: {shown(differing[0])} has two different labels")
    if wrong := [k for k, v in labels.items() if not is_class(v)]:
        raise SpecError(f"{where}: {shown(wrong[0])}: {labels[wrong[0]]!r:.40} is not a class number")
    return labels


def reading(found: Labelled, walked: Walked) -> list[str]:
    """What 0.1.0 read otherwise in the same files, for the fingerprint: a set that it read alike keeps its own."""
    lines, kept = [], {f.name for f in found.images}
    names = [line.rsplit(" ", 2)[0] for line in walked.members if _image_in_0_1(line.rsplit(" ", 2)[0])]
    if any(name not in kept for name in names):
        lines.append("without hidden folders")
    if not walked.members:
        tops = [f.name.split("/")[0] if "/" in f.name else "" for f in found.images]
        number = {top: i for i, top in enumerate(sorted(set(tops), key=encoded))}
        before = [number[top] for top in tops]
    else:
        before = [0] * len(found.labels) if found.names else found.labels
    return [*lines, f"labels {found.labels}"] if before != found.labels else lines


def _image_in_0_1(member: str) -> bool:
    base = os.path.basename(member)
    return is_image(member) and not member.startswith("__MACOSX/") and not base.startswith(".")


def other_kinds(left_out: Counter[str]) -> str:
    """What is left out, by ending: `3 files are not read: 2 .bmp, 1 .txt`; empty if nothing is."""
    n = left_out.total()
    counts = ", ".join(f"{count:,} {ending}" for ending, count in sorted(left_out.items()))
    return f"{n:,} {'file is' if n == 1 else 'files are'} not read: {counts}" if n else ""


Source = Any  # a decoded array, or a function that reads it or the bytes of a file
Item = tuple[str, Source, int]  # name, source, class
