"""Data sets on a device, as uint8 images with labels: the built-in digits, CIFAR-10, an EDM archive or a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ablate.config.profile import ARCHIVES, CIFAR10, Data
from ablate.core.errors import SpecError
from ablate.core.files import typed_path
from ablate.core.lazy import torch
from ablate.data import pictures
from ablate.data.archives import KEY, Item, shown
from ablate.data.survey import Survey, peculiar, problems, survey

TAKES = {"digits": ("holdout",), "cifar10": ("path",)}  # the other data sets take every key
KNOWN = {"digits": (1, 8), "cifar10": (3, 32)}  # channels, side in pixels; both have ten classes
DIGITS, HELD_OUT = 1797, 797
CIFAR = (50_000, 10_000)  # images to train on, held out
T = TypeVar("T")


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
        SpecError: a file is missing or damaged, sizes differ without `resolution`, there are too few images, or files
            change while they are read.
    """
    mark = fingerprint(spec)
    train, test = {"digits": _digits, "cifar10": _cifar10}.get(spec.name, _files)(spec)
    source = _describe_source(spec, train, test)
    pixels = torch.from_numpy(pictures.stack([*train, *test], _fit(spec))).to(device).contiguous()
    if fingerprint(spec) != mark:
        raise SpecError(f"{KEY}: {spec.path!r}: files changed while they were read")
    labels = torch.tensor([label for *_, label in [*train, *test]], device=device)
    n, classes = len(train), _classes(spec, int(labels.max()) + 1)
    return Images(pixels[:n], labels[:n], pixels[n:], labels[n:], classes, mark, source)


def _describe_source(spec: Data, train: list[Item], test: list[Item]) -> str:
    """Where the images come from and their file types: FIDs of compressed images do not compare with published ones."""
    if spec.name in KNOWN:
        return {"digits": "scikit-learn's digits", "cifar10": "torchvision's CIFAR-10"}[spec.name]
    kinds = sorted({Path(name).suffix.lower() for name, *_ in (*train, *test)})
    names = [shown(Path(p).name) for p in (spec.path, spec.test_path) if p]
    counts = f"{len(train):,} and {len(test):,} images of kind {', '.join(kinds)}"
    return "; ".join([f"{' and '.join(names)}, {counts}", *_remarks(spec)])


def _remarks(spec: Data) -> list[str]:
    """What is left out of the files, and what is done to the images besides resizing."""
    found = [
        remark for s in _surveys(spec) for remark in (s.left_out, peculiar(s.headers.values())) if remark
    ]
    return list(dict.fromkeys(found))


def _fit(spec: Data) -> pictures.Fit:
    return pictures.Fit(spec.resolution, spec.interpolation, spec.crop, spec.max_pixels)


def fingerprint(spec: Data) -> str:
    """12 hexadecimal digits, a hash of the source's content and of how it is cropped and split.

    Needs no torch and decodes nothing. It is of the files as they are now; an archive is identified by the checksums in
    its directory.

    Raises:
        SpecError: the source cannot be read, or `spec` has a key that it does not take.
    """
    unused = [k for k in ("path", "test_path", "holdout") if k not in TAKES.get(spec.name, (k,))]
    if wrong := [k for k in unused if getattr(spec, k) is not None]:
        raise SpecError(*(f"{KEY}.{k}: {getattr(spec, k)!r}: {spec.name} takes no {k}" for k in wrong))
    if spec.test_path is not None and spec.holdout is not None:
        raise SpecError(f"{KEY}.holdout: {spec.holdout}: test_path names the held-out images already")
    source = [s.content for s in _surveys(spec)] or [f"{spec.name}-1"]
    cut = [spec.resolution, spec.interpolation, spec.crop, spec.holdout, spec.images]
    return hashlib.sha256(json.dumps([source, cut]).encode()).hexdigest()[:12]


def _surveys(spec: Data) -> list[Survey]:
    """Surveys of `path` and, if there is one, of `test_path`; none of a built-in set."""
    if spec.name in KNOWN:
        return []
    keys = ["path"] if spec.test_path is None else ["path", "test_path"]
    return [survey(_source(spec, key), spec.max_pixels) for key in keys]


def _source(spec: Data, key: str) -> Path:
    if (given := getattr(spec, key)) is None:
        raise SpecError(f"{KEY}.{key}: {spec.name} needs a path here")
    path = typed_path(given, f"{KEY}.{key}")
    if not path.exists():
        raise SpecError(f"{KEY}.{key}: {given!r}: no such file or folder")
    if path.is_dir() != (spec.name == "folder"):
        kind = "a folder" if path.is_dir() else "no folder"
        raise SpecError(f"{KEY}.{key}: {given!r} is {kind}, but {KEY}.name is {spec.name}")
    return path


def _digits(spec: Data) -> tuple[list[Item], list[Item]]:
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    order = np.random.RandomState(0).permutation(len(pixels))
    return _split([(f"digit {i}", pixels[i], int(digits.target[i])) for i in order], None, spec, HELD_OUT)


def _cifar10(spec: Data) -> tuple[list[Item], list[Item]]:
    from torchvision import datasets

    folder = typed_path(spec.path or CIFAR10, f"{KEY}.path")
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


def _files(spec: Data, surveys: Sequence[Survey] = ()) -> tuple[list[Item], list[Item]]:
    found = surveys or _surveys(spec)
    train = _mixed(found[0].items)
    test = _mixed(_numbered_alike(found[0], found[1])) if len(found) > 1 else None
    return _split(train, test, spec, max(1, len(train) // 10))


def _numbered_alike(train: Survey, test: Survey) -> list[Item]:
    """The held-out items; a class folder has the number that it has in the training images."""
    if len(test.names) < 2 or not train.names:
        return test.items
    if unknown := [name for name in test.names if name not in train.names]:
        raise SpecError(
            f"{KEY}.test_path: class {shown(unknown[0])!r}: {KEY}.path has no folder of this name"
        )
    return [(name, read, train.names.index(test.names[label])) for name, read, label in test.items]


def _mixed(items: list[Item]) -> list[Item]:
    """The same items; shuffled in a fixed order if they are sorted by class.

    Otherwise the first n and the last m of them would be one class each.
    """
    labels = [label for *_, label in items]
    if len(set(labels)) == 1 or labels != sorted(labels):
        return items
    import numpy as np

    return [items[i] for i in np.random.RandomState(0).permutation(len(items))]


def _split(train: Sequence[T], test: Sequence[T] | None, spec: Data, holdout: int) -> tuple[list[T], list[T]]:
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
    return [*train[: spec.images]], [*test]


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
    train, test = _files(spec)
    return _classes(spec, 1 + max(label for *_, label in [*train, *test]))


def shape(spec: Data) -> tuple[int, int, int]:
    """(C, H, W) of the images that `load` returns, from the headers of all of them.

    If `spec` has a resolution but no path yet, the images are assumed to be in color.

    Raises:
        SpecError: images that cannot be read, are too large, or differ in size without `resolution`.
    """
    if spec.name in KNOWN or (spec.path is None and spec.resolution):
        channels, size = KNOWN.get(spec.name, (3, 0))
        return channels, spec.resolution or size, spec.resolution or size
    found = _surveys(spec)
    train, test = _files(spec, found)
    pairs = [(found[0], train), (found[-1], test)]  # without a test_path both are from the same survey
    seen = [(name, survey.headers[name]) for survey, items in pairs for name, *_ in items]
    faults = problems(seen, spec.max_pixels)
    sizes = [(name, header.width, header.height) for name, header in seen if not header.problem]
    odd = "" if spec.resolution else pictures.mixed_sizes(sizes)
    if faults or odd:
        raise SpecError(*faults, *([odd] if odd else []))
    side = spec.resolution
    return 1 if all(h.gray for _, h in seen) else 3, side or sizes[0][2], side or sizes[0][1]


@dataclass(frozen=True)
class Counts:
    """How many images there are to train on and held out, and of how many classes those to train on are."""

    train: int
    held_out: int
    classes: int


def counts(spec: Data) -> Counts | None:
    """The counts of what `load` returns, without decoding; None if `spec` has no path yet.

    Raises:
        SpecError: there are too few images for `holdout` or `images`.
    """
    if spec.name in KNOWN:
        if spec.name == "digits":
            train, test = _split(range(DIGITS), None, spec, HELD_OUT)
        else:
            train, test = _split(range(CIFAR[0]), range(CIFAR[1]), spec, 0)
        return Counts(len(train), len(test), 10)
    if spec.path is None:
        return None
    items, held_out = _files(spec)
    return Counts(len(items), len(held_out), len({label for *_, label in items}))


def remarks(spec: Data) -> list[str]:
    """What a user should know about the files of `spec`, a line each."""
    return [f"{KEY}: {remark}" for remark in _remarks(spec)] if spec.path else []
