"""`npz`: arrays of images and classes, as numpy's savez writes them. Pickled objects in a file are never read."""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path
from typing import Any

from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.data import survey
from ablate.data.archives import KEY, shown
from ablate.data.pictures import Header
from ablate.data.sources import Source, located
from ablate.data.survey import Survey


class Npz(Source, name="npz"):
    """uint8 or uint16 arrays (n, H, W), (n, H, W, 1 or 3) or (n, 1 or 3, H, W), each with a whole-number array (n,).

    `split` chooses the arrays that have this word in their names, such as `train` in x_train and y_train.
    """

    takes = ("path", "test_path", "holdout", "split", "test_split", "image", "label")

    def surveys(self, spec: Data) -> list[Survey]:
        path = located(spec, "path")
        found = [_survey(*_identity(path), spec.split, spec.image, spec.label)]
        if spec.test_path is not None or spec.test_split is not None:
            held_out = located(spec, "test_path") if spec.test_path is not None else path
            split = spec.test_split or (spec.split if spec.test_path is None else None)
            # names of arrays are those of the part to train on
            named = (spec.image, spec.label) if spec.test_split is None else (None, None)
            found.append(_survey(*_identity(held_out), split, *named))
        return found

    def describe(self, spec: Data, train: Any, held_out: Any) -> str:
        names = [shown(Path(p).name) for p in (spec.path, spec.test_path) if p]
        return f"{' and '.join(names)}, {len(train):,} and {len(held_out):,} images"


def _identity(path: Path) -> tuple[Path, int, int]:
    about = path.stat()
    return path, about.st_size, about.st_ctime_ns


@functools.lru_cache(maxsize=8)
def _survey(
    path: Path, size: int, changed: int, split: str | None, image: str | None, label: str | None
) -> Survey:
    import numpy as np

    where = f"{KEY}.path: {shown(str(path))!r}"
    try:
        with zipfile.ZipFile(path) as members, np.load(path, allow_pickle=False) as arrays:
            shapes = {name: _header(members, name) for name in arrays.files}
            image, label = _chosen(shapes, split, image, label, where)
            labels = [0] * shapes[image][0][0] if label is None else _labels(arrays[label], label)
            content = [
                f"{i.filename} {i.file_size} {i.CRC}"
                for i in members.infolist()
                if image + ".npy" == i.filename
            ]
    except SpecError:
        raise
    except Exception as error:  # zipfile and numpy raise many kinds on a damaged file
        raise SpecError(
            f"{where}: no readable file of arrays: {' '.join(str(error).split())[:160]}"
        ) from None
    shape, _ = shapes[image]
    if len(labels) != shape[0]:
        raise SpecError(
            f"{where}: {image!r} has {shape[0]:,} images, but {label!r} has {len(labels):,} classes"
        )
    read = functools.partial(_pixels, path, image, size, changed)
    names = [f"image {i:08d}" for i in range(shape[0])]
    items = [
        (name, functools.partial(read, i), k) for i, (name, k) in enumerate(zip(names, labels, strict=True))
    ]
    first, last = _axes(shape)
    header = Header(shape[last[1]], shape[last[0]], gray=first == 1)
    digest = survey.digest([*content, f"labels {labels}"])
    return Survey(items, dict.fromkeys(names, header), [], "", digest)


def _header(members: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], Any]:
    """Shape and type of an array, without reading it."""
    from numpy.lib import format as npy

    with members.open(f"{name}.npy") as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = read(file)
    return shape, kind


def _axes(shape: tuple[int, ...]) -> tuple[int, tuple[int, int]]:
    """The number of channels, and the axes of height and width; no channels if these are no images."""
    if len(shape) == 3:
        return 1, (1, 2)
    if len(shape) == 4 and shape[3] in (1, 3):
        return shape[3], (1, 2)
    return (shape[1], (2, 3)) if len(shape) == 4 and shape[1] in (1, 3) else (0, (0, 0))


def _chosen(
    shapes: dict[str, tuple[tuple[int, ...], Any]],
    split: str | None,
    image: str | None,
    label: str | None,
    where: str,
) -> tuple[str, str | None]:
    """The arrays of images and of classes: as named, else the only ones that can be."""
    listed = ", ".join(
        f"{name} ({kind} {'x'.join(map(str, shape))})" for name, (shape, kind) in shapes.items()
    )
    for key, name in (("image", image), ("label", label)):
        if name is not None and name not in shapes:
            raise SpecError(
                f"{KEY}.{key}: {name!r}: no such array in {where.split(': ', 1)[1]}; there are: {listed}"
            )
    here = {name: of for name, of in shapes.items() if not split or split in name}
    pictures = [
        n for n, (shape, kind) in here.items() if str(kind) in ("uint8", "uint16") and _axes(shape)[0]
    ]
    if image is None:
        if len(pictures) != 1:
            raise SpecError(f"{KEY}.image: name the array of the images (uint8 or uint16): {listed}")
        image = pictures[0]
    elif not _axes(shapes[image][0])[0] or str(shapes[image][1]) not in ("uint8", "uint16"):
        raise SpecError(
            f"{KEY}.image: {image!r}: needs uint8 or uint16, n x H x W x 1 or 3; there are: {listed}"
        )
    if label is None:
        n = shapes[image][0][0]
        fitting = [
            name
            for name, (shape, kind) in here.items()
            if kind.kind in "iu" and shape in ((n,), (n, 1)) and name != image
        ]
        if len(fitting) > 1:
            raise SpecError(f"{KEY}.label: name the array of the classes: {listed}")
        label = next(iter(fitting), None)
    return image, label


def _labels(values: Any, label: str) -> list[int]:
    if values.dtype.kind not in "iu" or values.size != len(values):
        raise SpecError(f"{KEY}.label: {label!r}: needs one whole number for each image")
    if values.size and (values.min() < 0 or values.max() >= 10**6):
        raise SpecError(f"{KEY}.label: {label!r}: has {values.min()}, which is no class number")
    return [int(v) for v in values.reshape(-1)]


@functools.lru_cache(maxsize=1)
def _array(path: Path, name: str, _size: int, _changed: int) -> Any:
    """An array (n, H, W, 1 or 3), uint8; it is in memory as a whole, since archives cannot be mapped."""
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        found = arrays[name]
    if found.dtype == np.uint16:
        found = (found >> 8).astype(np.uint8)
    if found.ndim == 4 and found.shape[3] not in (1, 3):
        found = found.transpose(0, 2, 3, 1)
    return found[..., 0] if found.ndim == 4 and found.shape[3] == 1 else found


def _pixels(path: Path, name: str, size: int, changed: int, i: int) -> Any:
    return _array(path, name, size, changed)[i]
