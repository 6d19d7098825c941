"""Image files in an archive or a folder: their names, their labels, and their pixels as one array."""

from __future__ import annotations

import functools
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ablate.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

KEY = "profile.data"  # the place of the spec, for error messages
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
LARGEST = 64 * 2**20  # bytes of one image, decoded or not
LARGEST_LABELS = 512 * 2**20  # bytes of dataset.json


class Fit(NamedTuple):
    """How images are brought to one size; without a resolution they are not resized."""

    resolution: int | None = None
    interpolation: str = "bicubic"  # one of Pillow's filters
    crop: str = "center"  # or random: any square of the largest side


Item = tuple[str, Any, int]  # name, a reader of bytes or a decoded array, class


def opened(path: Path) -> zipfile.ZipFile:
    """Open an archive. It is cached, so do not close it.

    Raises:
        SpecError: it is not a zip archive.
    """
    try:
        return _kept(path, path.stat().st_mtime_ns)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise SpecError(f"{KEY}: {str(path)!r}: not a readable zip archive: {str(error).lower()}") from None


@functools.lru_cache(maxsize=4)
def _kept(path: Path, _changed: int) -> zipfile.ZipFile:
    """Cached: reading a directory of 50,000 members takes a second, and planning needs it seven times."""
    return zipfile.ZipFile(path)


def zipped(path: Path) -> list[Item]:
    """The images of an EDM archive, sorted by name; without dataset.json all have class 0.

    Raises:
        SpecError: it is not a zip archive, a member is too large, or an image has no label.
    """
    archive = opened(path)
    infos = sorted((i for i in archive.infolist() if _is_image(i.filename)), key=lambda i: i.filename)
    if large := [i for i in infos if i.file_size > LARGEST]:
        size = large[0].file_size
        raise SpecError(f"{KEY}: {path}: {large[0].filename}: {size} bytes; at most {LARGEST} are read")
    labels = _labels(archive, path) or dict.fromkeys((i.filename for i in infos), 0)
    if bare := [i.filename for i in infos if i.filename not in labels]:
        raise SpecError(f"{KEY}: {path}: dataset.json has no label for {bare[0]} and {len(bare) - 1} others")
    return [(i.filename, functools.partial(archive.read, i), labels[i.filename]) for i in infos]


def _is_image(name: str) -> bool:
    hidden = name.startswith("__MACOSX/") or os.path.basename(name).startswith(".")
    return os.path.splitext(name)[1].lower() in FORMATS and not hidden


def _labels(archive: zipfile.ZipFile, path: Path) -> dict[str, int]:
    """Member name -> class, from the dataset.json in any folder of the archive; empty without one or without labels."""
    files = sorted((n for n in archive.namelist() if os.path.basename(n) == "dataset.json"), key=len)
    if not files:
        return {}
    try:
        if archive.getinfo(files[0]).file_size > LARGEST_LABELS:
            raise ValueError(f"larger than {LARGEST_LABELS} bytes")
        pairs = json.loads(archive.read(files[0]))["labels"] or []
        prefix = files[0].removesuffix("dataset.json")
        labels = {prefix + str(name): label for name, label in pairs}
    except Exception as error:  # a damaged member, or any other shape of JSON
        reason = f"no {{'labels': [[name, class], ...]}}: {error!r:.80}"
        raise SpecError(f"{KEY}: {path}: {files[0]}: {reason}") from None
    if wrong := [k for k, v in labels.items() if type(v) is not int or not 0 <= v < 10**6]:
        raise SpecError(
            f"{KEY}: {path}: {files[0]}: {wrong[0]}: {labels[wrong[0]]!r:.40} is not a class number"
        )
    return labels


def folder(path: Path) -> list[Item]:
    """The images below a folder, sorted by path; its sub-folders, sorted, are the classes."""
    files = (p for p in path.rglob("*") if _is_image(p.name) and p.is_file())
    names = sorted(p.relative_to(path).as_posix() for p in files)
    tops = {name: name.split("/")[0] if "/" in name else "" for name in names}
    classes = {top: i for i, top in enumerate(sorted(set(tops.values())))}
    return [(name, (path / name).read_bytes, classes[tops[name]]) for name in names]


def stack(items: Sequence[Item], fit: Fit) -> np.ndarray:
    """All images as one uint8 array (n, C, H, W): C = 1 if all are gray, else 3.

    Raises:
        SpecError: an image cannot be read or is too large, or sizes differ without a resolution.
    """
    import numpy as np

    arrays: list[Any] = list(_decoded(items, fit))
    for (name, *_), array in zip(items, arrays, strict=True):
        if array.shape[:2] != arrays[0].shape[:2]:
            pair = ((items[0][0], arrays[0]), (name, array))
            sizes = ", ".join(f"{n} is {a.shape[1]}x{a.shape[0]}" for n, a in pair)
            raise SpecError(f"{KEY}.resolution: needed for images of mixed sizes: {sizes}")
    out = np.empty((len(arrays), *arrays[0].shape[:2], max(a.shape[2] for a in arrays)), np.uint8)
    for i in range(len(arrays)):
        out[i], arrays[i] = arrays[i], None  # freed one by one, so that a large set is never in memory twice
    return out.transpose(0, 3, 1, 2)


def _decoded(items: Sequence[Item], fit: Fit) -> Iterator[np.ndarray]:
    size = max(1, len(items) // 64)  # one task per image would cost more than its decoding

    def piece(start: int) -> list[np.ndarray]:
        return [_decode(name, source, fit) for name, source, _ in items[start : start + size]]

    with ThreadPoolExecutor(_workers(items[0][1])) as pool:
        for arrays in pool.map(piece, range(0, len(items), size)):
            yield from arrays


def _workers(first: Any) -> int:
    """The number of decoding threads: one if the first image is small, since Python's share dominates there."""
    try:
        small = not callable(first) or len(first()) < 2**14
    except Exception:  # decoding reports the error
        small = True
    return 1 if small else min(8, os.cpu_count() or 1)


def _decode(name: str, source: Callable[[], bytes] | np.ndarray, fit: Fit) -> np.ndarray:
    """One image as uint8 (H, W, 1 or 3), cropped and resized if `fit` has a resolution."""
    import numpy as np

    try:
        pixels = np.asarray(_fit(_opened(source), name, fit))
    except Exception as error:  # Pillow raises nearly anything on a damaged file
        raise SpecError(f"{KEY}: {name}: not a readable image: {str(error)[:120] or repr(error)}") from None
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _opened(source: Callable[[], bytes] | np.ndarray) -> Image:
    """The image, gray or RGB. Its size is checked before anything is decoded."""
    from PIL import Image

    if not callable(source):
        return Image.fromarray(source)
    image: Image.Image = Image.open(io.BytesIO(source()), formats=tuple(set(FORMATS.values())))
    if image.width * image.height * 3 > LARGEST:
        raise ValueError(f"{image.width}x{image.height} pixels; at most {LARGEST} bytes are decoded")
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"mode {image.mode}: eight bits per channel are needed")
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    return image if image.mode == mode else image.convert(mode)  # converting to the same mode copies


def _fit(image: Image, name: str, fit: Fit) -> Image:
    """A square of the image, resized to `fit.resolution` with an antialiased filter."""
    size = fit.resolution
    if size is None or image.size == (size, size):
        return image
    from PIL.Image import Resampling

    side = min(image.size)
    spare = image.width - side, image.height - side
    if fit.crop == "center":
        left, top = spare[0] // 2, spare[1] // 2
    else:  # the place depends on the name, so the same file is always cropped alike
        drawn = zlib.crc32(name.encode()) / 2**32
        left, top = round(drawn * spare[0]), round(drawn * spare[1])
    square = image.crop((left, top, left + side, top + side))  # resize(box=...) reads beyond the box
    return square.resize((size, size), Resampling[fit.interpolation.upper()])
