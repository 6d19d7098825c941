"""Data sets on a device, as uint8 images with labels: the built-in digits, CIFAR-10, an EDM archive or a folder."""

from __future__ import annotations

import functools
import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.config.profile import ARCHIVES, CIFAR10, Data
from ablate.core.errors import SpecError
from ablate.core.lazy import torch
from ablate.data import archives
from ablate.data.archives import FORMATS, KEY, Item

TAKES = {"digits": ("holdout",), "cifar10": ("path",)}  # the other data sets take every key
KNOWN = {"digits": (1, 8), "cifar10": (3, 32)}  # channels, side in pixels; both have ten classes
HELD_OUT = 797  # of the 1797 digits


@dataclass
class Images:
    """A data set on one device; C is 1 or 3.

    train: uint8 (n, C, H, W); test: uint8 (m, C, H, W), held out; their labels: int64 (n,), (m,). source: where the
    images come from, for reports.
    """

    train: torch.Tensor
    train_labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor
    classes: int
    fingerprint: str
    source: str = "made up"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.shape[1:]
        return channels, height, width


def load(spec: Data, device: Any = "cpu") -> Images:
    """The images that `spec` names, decoded, resized and split.

    Raises:
        SpecError: a file is missing or damaged, sizes differ without `resolution`, or there are too few images.
    """
    mark = fingerprint(spec)
    train, test = {"digits": _digits, "cifar10": _cifar10}.get(spec.name, _files)(spec)
    source = _describe_source(spec, train, test)
    pixels = torch.from_numpy(archives.stack([*train, *test], _fit(spec))).to(device).contiguous()
    labels = torch.tensor([label for *_, label in [*train, *test]], device=device)
    n, classes = len(train), _classes(spec, int(labels.max()) + 1)
    return Images(pixels[:n], labels[:n], pixels[n:], labels[n:], classes, mark, source)


def _describe_source(spec: Data, train: list[Item], test: list[Item]) -> str:
    """Where the images come from and their file types: FIDs of compressed images do not compare with published ones."""
    if spec.name in KNOWN:
        return {"digits": "scikit-learn's digits", "cifar10": "torchvision's CIFAR-10"}[spec.name]
    kinds = sorted({Path(name).suffix.lower() for name, *_ in (*train, *test)})
    names = [Path(p).name for p in (spec.path, spec.test_path) if p]
    return f"{' and '.join(names)}, {len(train):,} and {len(test):,} images of kind {', '.join(kinds)}"


def _fit(spec: Data) -> archives.Fit:
    return archives.Fit(spec.resolution, spec.interpolation, spec.crop)


def fingerprint(spec: Data) -> str:
    """12 hexadecimal digits, a hash of the source's content and of how it is cropped and split.

    Needs no torch and decodes nothing: an archive is identified by the checksums in its directory.

    Raises:
        SpecError: the source cannot be read, or `spec` has a key that it does not take.
    """
    unused = [k for k in ("path", "test_path", "holdout") if k not in TAKES.get(spec.name, (k,))]
    if wrong := [k for k in unused if getattr(spec, k) is not None]:
        raise SpecError(*(f"{KEY}.{k}: {getattr(spec, k)!r}: {spec.name} takes no {k}" for k in wrong))
    if spec.test_path is not None and spec.holdout is not None:
        raise SpecError(f"{KEY}.holdout: {spec.holdout}: test_path names the held-out images already")
    source = [f"{spec.name}-1"]
    if spec.name in ("zip", "folder"):
        keys = ["path"] if spec.test_path is None else ["path", "test_path"]
        source = [_content(p, p.stat().st_mtime_ns) for p in (_source(spec, k) for k in keys)]
    cut = [*_fit(spec), spec.holdout, spec.images]
    return hashlib.sha256(json.dumps([source, cut]).encode()).hexdigest()[:12]


def _source(spec: Data, key: str) -> Path:
    if (given := getattr(spec, key)) is None:
        raise SpecError(f"{KEY}.{key}: {spec.name} needs a path here")
    path = Path(given).expanduser()
    if not path.exists():
        raise SpecError(f"{KEY}.{key}: {given!r}: no such file or folder")
    if path.is_dir() != (spec.name == "folder"):
        kind = "a folder" if path.is_dir() else "no folder"
        raise SpecError(f"{KEY}.{key}: {given!r} is {kind}, but {KEY}.name is {spec.name}")
    return path


@functools.cache
def _content(path: Path, _changed: int) -> str:
    """A hash of an archive's directory, or of a folder's files."""
    if path.is_dir():
        contents = ((name, read()) for name, read, _ in archives.folder(path))
        files = [f"{name} {len(content)} {zlib.crc32(content)}" for name, content in contents]
    else:
        members = archives.opened(path).infolist()
        files = sorted(f"{i.filename} {i.file_size} {i.CRC}" for i in members)
    return hashlib.sha256("\n".join(files).encode()).hexdigest()


def _digits(spec: Data) -> tuple[list[Item], list[Item]]:
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    order = np.random.RandomState(0).permutation(len(pixels))
    return _split([(f"digit {i}", pixels[i], int(digits.target[i])) for i in order], None, spec, HELD_OUT)


def _cifar10(spec: Data) -> tuple[list[Item], list[Item]]:
    from torchvision import datasets

    folder = Path(spec.path or CIFAR10).expanduser()
    try:
        halves = [datasets.CIFAR10(str(folder), train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:  # no network, or a file that fails its checksum
        raise SpecError(
            f"{KEY}.name: 'cifar10': cannot be downloaded ({str(error)[:80]}): "
            f"put cifar-10-python.tar.gz into {folder}, or {' and '.join(ARCHIVES)} in EDM's layout"
        ) from None
    pairs = [zip(half.data, half.targets, strict=True) for half in halves]
    train, test = ([(f"image {i}", *pair) for i, pair in enumerate(half)] for half in pairs)
    return _split(train, test, spec, 0)


def _files(spec: Data) -> tuple[list[Item], list[Item]]:
    read = archives.folder if spec.name == "folder" else archives.zipped
    train = _mixed(read(_source(spec, "path")), spec.path)
    test = None if spec.test_path is None else _mixed(read(_source(spec, "test_path")), spec.test_path)
    return _split(train, test, spec, max(1, len(train) // 10))


def _mixed(items: list[Item], path: str | None) -> list[Item]:
    """The same items; shuffled in a fixed order if they are sorted by class.

    Otherwise the first n and the last m of them would be one class each.
    """
    if not items:
        raise SpecError(f"{KEY}: {path!r}: no images ({', '.join(FORMATS)}) in it")
    labels = [label for *_, label in items]
    if len(set(labels)) == 1 or labels != sorted(labels):
        return items
    import numpy as np

    return [items[i] for i in np.random.RandomState(0).permutation(len(items))]


def _split(
    train: list[Item], test: list[Item] | None, spec: Data, holdout: int
) -> tuple[list[Item], list[Item]]:
    """Training and held-out items. Without a test set the last `holdout` are held out; `images` limits training."""
    if test is None:
        holdout = spec.holdout or holdout
        if holdout >= len(train):
            raise SpecError(
                f"{KEY}.holdout: {holdout}: of {len(train)} images none would be left to train on"
            )
        train, test = train[:-holdout], train[-holdout:]
    if spec.images and spec.images > len(train):
        raise SpecError(f"{KEY}.images: {spec.images}: there are only {len(train)} to train on")
    return train[: spec.images], test


def _classes(spec: Data, present: int) -> int:
    if spec.classes is not None and spec.classes < present:
        raise SpecError(f"{KEY}.classes: {spec.classes}: the images have {present}")
    return spec.classes or present


def classes(spec: Data) -> int:
    """The number of classes that the network is conditioned on; 0 without `labels`. Decodes no image."""
    if not spec.labels:
        return 0
    if spec.name in KNOWN or (spec.classes and spec.path is None):
        return spec.classes or 10
    read = archives.folder if spec.name == "folder" else archives.zipped
    keys = ["path"] if spec.test_path is None else ["path", "test_path"]
    return _classes(spec, 1 + max(label for key in keys for *_, label in read(_source(spec, key))))


def shape(spec: Data) -> tuple[int, int, int]:
    """(C, H, W) of the images that `load` returns, read from the first one. `load` reports images that differ.

    If `spec` has a resolution but no path yet, the images are assumed to be in color.
    """
    if spec.name in KNOWN or (spec.path is None and spec.resolution):
        channels, size = KNOWN.get(spec.name, (3, 0))
        return channels, spec.resolution or size, spec.resolution or size
    path = _source(spec, "path")
    if spec.name == "folder":  # its modification time does not change with its files
        return _first_shape.__wrapped__(path, 0, _fit(spec))
    return _first_shape(path, path.stat().st_mtime_ns, _fit(spec))


@functools.lru_cache(maxsize=64)
def _first_shape(path: Path, _changed: int, fit: archives.Fit) -> tuple[int, int, int]:
    """Cached, because planning asks for the same shape many times."""
    read = archives.folder if path.is_dir() else archives.zipped
    channels, height, width = archives.stack(_mixed(read(path), str(path))[:1], fit).shape[1:]
    return channels, height, width
