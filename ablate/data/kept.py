"""Decoded images in the cache, one memory-mapped array for each fingerprint, shared by all workers and cells.

`CACHE/images-FINGERPRINT/` has pixels.npy (uint8, n x C x H x W), labels.npy and about.json with their checksums. It is
written to another name and renamed, so it is there whole or not at all. A process that reads it keeps its pages, also
after the folder was removed. checked.json has the state in which the files were found to have these checksums.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from ablate.core.files import checksum, read_json, write_json
from ablate.data import pictures
from ablate.data.archives import Item
from ablate.data.pictures import Fit
from ablate.data.survey import YOUNG_NS

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1  # raise it when decoding changes: kept images of another format are decoded anew
PREFIX = "images-"
FILES = "pixels.npy", "labels.npy"
CHECKED = "checked.json"
OnImages = Callable[[int, int], Any]  # images decoded so far, all


def quiet(done: int, total: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Encoded:
    """What `Decoded` is made from: items, of which the first `train` are to train on, and their shape (C, H, W)."""

    items: list[Item]
    train: int
    source: str
    fit: Fit
    shape: tuple[int, int, int]

    @property
    def size(self) -> int:
        """Bytes of the decoded images."""
        channels, height, width = self.shape
        return len(self.items) * channels * height * width

    def labels(self) -> np.ndarray:
        """The class of each image, int64 (n,)."""
        import numpy as np

        return np.fromiter((label for *_, label in self.items), np.int64, len(self.items))


@dataclass(frozen=True)
class Decoded:
    """pixels: uint8 (n, C, H, W); labels: int64 (n,); the first `train` are to train on. source: for reports."""

    pixels: np.ndarray
    labels: np.ndarray
    train: int
    source: str


def folder(cache: Path, mark: str) -> Path:
    """The place of the images with a fingerprint."""
    return Path(cache) / f"{PREFIX}{mark}"


def folders(cache: Path) -> dict[str, Path]:
    """The decoded images in a cache: fingerprint -> folder. `remove` frees one; the next cell decodes it again."""
    return {p.name.removeprefix(PREFIX): p for p in sorted(Path(cache).glob(f"{PREFIX}*")) if p.is_dir()}


def remove(place: Path) -> None:
    """Remove decoded images, in one step for everybody else."""
    hidden = tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent)
    with suppress(FileNotFoundError):
        os.rename(place, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def in_cache(cache: Path, mark: str, encoded: Callable[[], Encoded], on_images: OnImages = quiet) -> Decoded:
    """The images with fingerprint `mark`, decoded unless the cache has them; one process decodes, others wait for it.

    Raises:
        OSError: the disk has no room for them.
    """
    place = folder(cache, mark)
    if (known := _read(place)) is not None:
        return known
    with filelock.FileLock(f"{place}.lock"):
        if (known := _read(place)) is None:
            if place.exists():
                print(f"{place}: damaged: its images are decoded anew", flush=True)
                remove(place)
            _write(place, encoded(), on_images)
            known = _read(place)
    if known is None:
        raise OSError(errno.EIO, "cannot be read back", str(place))
    return known


def _read(place: Path) -> Decoded | None:
    """The images in a folder; None if there are none, or damaged ones."""
    import numpy as np

    about = read_json(place / "about.json")
    try:
        if about["format"] != FORMAT or not _whole(place, about["checksums"]):
            return None
        # mode c: pages are read when they are used, and torch may have an array that it could write to
        pixels, labels = (np.load(place / name, mmap_mode="c", allow_pickle=False) for name in FILES)
        return Decoded(pixels, labels, about["train"], about["source"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _whole(place: Path, checksums: list[str]) -> bool:
    """Whether the files have these checksums. They are read only if they changed since they were found to have them."""
    about = [(place / name).stat() for name in FILES]
    state = {"checksums": checksums, "files": [[a.st_ino, a.st_size, a.st_ctime_ns] for a in about]}
    if read_json(place / CHECKED) == state:
        return True
    if checksums != [checksum(place / name) for name in FILES]:
        return False
    if time.time_ns() - max(a.st_ctime_ns for a in about) > YOUNG_NS:
        with suppress(OSError):  # a cache that cannot be written is checked every time
            write_json(place / CHECKED, state)
    return True


def _write(place: Path, encoded: Encoded, on_images: OnImages) -> None:
    import numpy as np

    for left in place.parent.glob(f".{place.name}.*"):  # by processes that were killed
        shutil.rmtree(left, ignore_errors=True)
    if shutil.disk_usage(place.parent).free < encoded.size:
        reason = f"no room for {encoded.size / 1e9:.1f} GB of decoded images"
        raise OSError(errno.ENOSPC, reason, str(place))
    temporary = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        total, done = len(encoded.items), 0
        with (temporary / FILES[0]).open("wb") as out:  # no memory map: on a full disk that ends the process
            header = {"descr": "|u1", "fortran_order": False, "shape": (total, *encoded.shape)}
            np.lib.format.write_array_header_1_0(out, header)
            for some in pictures.fill(encoded.items, encoded.fit, encoded.shape):
                out.write(some.data)
                done += len(some)
                on_images(done, total)
            out.flush()
            os.fsync(out.fileno())
        np.save(temporary / FILES[1], encoded.labels())
        about = {"format": FORMAT, "train": encoded.train, "source": encoded.source}
        about["checksums"] = [checksum(temporary / name) for name in FILES]
        write_json(temporary / "about.json", about)
        os.chmod(temporary, 0o755)
        os.rename(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def tenths(say: Callable[[str], Any], patience_s: float = 2.0) -> OnImages:
    """Progress as a line whenever another tenth is decoded; none of what takes less than `patience_s` altogether."""
    said, began = 0, time.monotonic()

    def on_images(done: int, total: int) -> None:
        nonlocal said
        share = 10 * done // total
        if share > said and time.monotonic() - began >= patience_s:
            said = share
            say(f"decoded {done:,} of {total:,} images")

    return on_images
