"""Data sets as uint8 images with labels, on the training device or kept in memory-mapped files beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.core.hardware import memory
from ablate.core.lazy import torch
from ablate.data import kept, pictures, sources
from ablate.data.archives import KEY, Item, shown
from ablate.data.kept import Decoded, Encoded, OnImages, quiet
from ablate.data.survey import Survey, problems

T = TypeVar("T")
Shape = tuple[int, int, int]


@dataclass
class Images:
    """A data set; C is 1 or 3.

    train: uint8 (n, C, H, W); test: uint8 (m, C, H, W), held out; both on the device, or on the host if they are too
    large for it. Their labels, on the device: int64 (n,), (m,). source: where the images come from, for reports.
    """

    train: torch.Tensor
    train_labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor
    classes: int
    fingerprint: str
    source: str = "made up"
    ahead: bool = False  # they are not on the device: the trainer gathers its batches ahead of the steps

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.shape[1:]
        return channels, height, width

    @property
    def device(self) -> torch.device:
        """Where the images are used."""
        return self.train_labels.device

    @property
    def place(self) -> str:
        """Where the images are while a cell trains, for its record."""
        return "batches gathered ahead of the steps" if self.ahead else "on the device"


def load(
    spec: Data,
    device: Any = "cpu",
    cache: Path | None = None,
    mark: str | None = None,
    on_images: OnImages = quiet,
) -> Images:
    """The images that `spec` names, decoded, resized and split.

    Args:
        cache: a folder that keeps decoded images; without one they are decoded into memory.
        mark: the fingerprint that they must have, if a cell names it: images in the cache are then used without
            reading their files.
        on_images: called with the number of images decoded so far and of all; may raise.
    Raises:
        SpecError: a file is missing or damaged, sizes differ without `resolution`, there are too few images, or files
            change while they are read.
        OSError: the cache has no room.
    """
    mark, source = mark or fingerprint(spec), sources.find(spec)
    if cache is None or not source.kept:
        encoded = _encoded(spec, mark)
        pixels = pictures.stack(encoded.items, encoded.fit, encoded.shape)
        source.release()
        _require_unchanged(spec, mark)
        decoded = Decoded(pixels, encoded.labels(), encoded.train, encoded.source)
    else:
        decoded = decode(spec, cache, mark, on_images)
    return _images(spec, decoded, mark, torch.device(device))


def decode(spec: Data, cache: Path, mark: str, on_images: OnImages = quiet) -> Decoded:
    """The images with fingerprint `mark`, which the cache has afterwards. Needs no torch."""

    def checked(done: int, total: int) -> None:
        on_images(done, total)
        if done == total:
            sources.find(spec).release()
            _require_unchanged(spec, mark)

    return kept.in_cache(cache, mark, lambda: _encoded(spec, mark), checked)


def _encoded(spec: Data, mark: str) -> Encoded:
    """What is to be decoded.

    Raises:
        SpecError: the files are not those with fingerprint `mark`.
    """
    if (now := fingerprint(spec)) != mark:
        change = f"fingerprint {mark} became {now}"
        raise SpecError(f"{KEY}: the images changed after this cell was planned: {change}")
    train, test = _halves(spec)
    items = [*train, *test]
    described = sources.find(spec).describe(spec, [i[0] for i in train], [i[0] for i in test])
    source = "; ".join([described, *sources.find(spec).remarks(spec)])
    return Encoded(items, len(train), source, _fit(spec), shape(spec))


def _require_unchanged(spec: Data, mark: str) -> None:
    if fingerprint(spec) != mark:
        raise SpecError(f"{KEY}: {spec.path!r}: files changed while they were read")


def _images(spec: Data, decoded: Decoded, mark: str, device: torch.device) -> Images:
    fits = decoded.pixels.nbytes <= room(spec, device)
    pixels = torch.from_numpy(decoded.pixels)
    labels = torch.from_numpy(decoded.labels).to(device)
    pixels = pixels.to(device) if fits else pixels
    n, classes = decoded.train, _classes(spec, int(labels.max()) + 1)
    halves = pixels[:n], labels[:n], pixels[n:], labels[n:]
    return Images(*halves, classes, mark, decoded.source, ahead=not fits)


def room(spec: Data, device: Any) -> int:
    """Bytes of images that may lie on a device; more are kept beside it."""
    return spec.device_mb * 10**6 if spec.device_mb else memory(str(device)) // 4


def _fit(spec: Data) -> pictures.Fit:
    return pictures.Fit(spec.resolution, spec.interpolation, spec.crop, spec.max_pixels)


def fingerprint(spec: Data) -> str:
    """12 hexadecimal digits, a hash of the source's content and of how it is cropped and split.

    Needs no torch and decodes nothing. It is of the files as they are now; an archive is identified by the checksums in
    its directory.

    Raises:
        SpecError: the source cannot be read, or `spec` has a key that it does not take.
    """
    source = sources.find(spec)
    source.check(spec)
    content = [f"{spec.name}-1"] if source.known(spec) else [s.content for s in source.surveys(spec)]
    cut = [spec.resolution, spec.interpolation, spec.crop, spec.holdout, spec.images]
    return hashlib.sha256(json.dumps([content, cut]).encode()).hexdigest()[:12]


def _surveys(spec: Data) -> list[Survey]:
    source = sources.find(spec)
    source.check(spec)
    return source.surveys(spec)


def _halves(spec: Data) -> tuple[list[Item], list[Item]]:
    """The items to train on and the held-out ones."""
    return _cut(spec, _surveys(spec))


def _cut(spec: Data, found: Sequence[Survey]) -> tuple[list[Item], list[Item]]:
    train = _mixed(found[0].items)
    test = _mixed(_numbered_alike(found[0], found[1])) if len(found) > 1 else None
    return _split(train, test, spec)


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


def _split(train: Sequence[T], test: Sequence[T] | None, spec: Data) -> tuple[list[T], list[T]]:
    """Training and held-out items. Without a test set the last `holdout` are held out; `images` limits training."""
    if test is None:
        holdout = spec.holdout or sources.find(spec).holdout or max(1, len(train) // 10)
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


def _unnamed(spec: Data) -> bool:
    """Whether the source needs a path that `spec` does not have yet, as in a profile to be completed by --set."""
    return "path" in sources.find(spec).needs and spec.path is None


def classes(spec: Data) -> int:
    """The number of classes that the network is conditioned on; 0 without `labels`. Decodes no image."""
    if not spec.labels:
        return 0
    if known := sources.find(spec).known(spec):
        return spec.classes or known.classes
    if spec.classes and _unnamed(spec):
        return spec.classes
    train, test = _halves(spec)
    return _classes(spec, 1 + max(label for *_, label in [*train, *test]))


def shape(spec: Data) -> Shape:
    """(C, H, W) of the images that `load` returns, from the headers of all of them.

    If `spec` has a resolution but no path yet, the images are assumed to be in color.

    Raises:
        SpecError: images that cannot be read, are too large, or differ in size without `resolution`.
    """
    side = spec.resolution
    if known := sources.find(spec).known(spec):
        channels, height, width = known.shape
        return channels, side or height, side or width
    if side and _unnamed(spec):
        return 3, side, side
    found = _surveys(spec)
    about = (spec.model_dump_json(), *(survey.content for survey in found))
    if about not in _shapes:
        _shapes[about] = _shape(spec, found)
    return _shapes[about]


_shapes: dict[tuple[str, ...], Shape] = {}  # one command plans many tables of the same images


def _shape(spec: Data, found: Sequence[Survey]) -> Shape:
    side = spec.resolution
    train, test = _cut(spec, found)
    pairs = [(found[0], train), (found[-1], test)]  # held out from the same survey, or from one of their own
    seen = [(name, survey.headers[name]) for survey, items in pairs for name, *_ in items]
    faults = problems(seen, spec.max_pixels)
    sizes = [(name, header.width, header.height) for name, header in seen if not header.problem]
    odd = "" if side else pictures.mixed_sizes(sizes)
    if faults or odd:
        raise SpecError(*faults, *([odd] if odd else []))
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
    if known := sources.find(spec).known(spec):
        train, test = _split(range(known.train), range(known.held_out) if known.held_out else None, spec)
        return Counts(len(train), len(test), known.classes)
    if _unnamed(spec):
        return None
    items, held_out = _halves(spec)
    return Counts(len(items), len(held_out), len({label for *_, label in items}))


def remarks(spec: Data) -> list[str]:
    """What a user should know about the files of `spec`, a line each."""
    return [] if _unnamed(spec) else [f"{KEY}: {line}" for line in sources.find(spec).remarks(spec)]
