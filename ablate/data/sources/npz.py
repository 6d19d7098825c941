"""`npz`: arrays of images and classes, as numpy's savez writes them. Pickled objects in a file are never read."""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path
from typing import Any

from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.data import survey
from ablate.data.archives import KEY, State, is_class, only, shown, state
from ablate.data.pictures import Header
from ablate.data.sources import Source, located
from ablate.data.survey import Survey


class Npz(Source, name="npz"):
    """uint8 or uint16 arrays (n, H, W), (n, H, W, 1 or 3) or (n, 1 or 3, H, W), each with a whole-number array (n,).

    `split` chooses the arrays that have this word in their names, such as `train` in x_train and y_train.
    """

    takes = ("path", "test_path", "holdout", "split", "test_split", "image", "label")

    def surveys(self, spec: Data) -> list[Survey]:
        found = [_survey(state(located(spec, "path")), "path", spec.split, spec.image, spec.label)]
        if spec.test_path is not None or spec.test_split is not None:
            key = "path" if spec.test_path is None else "test_path"
            # names of arrays are those of the part to train on
            named = (spec.image, spec.label) if spec.test_split is None else (None, None)
            found.append(_survey(state(located(spec, key)), key, spec.test_split, *named))
        return found

    def release(self) -> None:
        _array.cache_clear()

    def describe(self, spec: Data, train: Any, held_out: Any) -> str:
        names = [shown(Path(p).name) for p in (spec.path, spec.test_path) if p]
        return f"{' and '.join(names)}, {len(train):,} and {len(held_out):,} images"


@functools.lru_cache(maxsize=8)
def _survey(file: State, key: str, split: str | None, image: str | None, label: str | None) -> Survey:
    import numpy as np

    path, where = file[0], f"{KEY}.{key}: {shown(file[0])!r}"
    try:
        with zipfile.ZipFile(path) as members, np.load(path, allow_pickle=False) as arrays:
            shapes = {name: _header(members, name) for name in arrays.files}
            image, label = _chosen(shapes, split, image, label, f" in {shown(str(path))!r}")
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
    read = functools.partial(_pixels, file, image)
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
    place: str,
) -> tuple[str, str | None]:
    """The arrays of images and of classes: as named, else the only ones that can be."""
    kinds = {name: f"{kind} {'x'.join(map(str, shape))}" for name, (shape, kind) in shapes.items()}
    here = {name: of for name, of in shapes.items() if not split or split in name}
    images = [name for name, of in here.items() if _holds_images(*of)]
    image = only("image", image, images, kinds, "array of the images (uint8 or uint16)", place)
    if not _holds_images(*shapes[image]):
        needs = "needs uint8 or uint16, n x H x W x 1 or 3"
        raise SpecError(f"{KEY}.image: {image!r}: {needs}, but is {kinds[image]}")
    n = shapes[image][0][0]
    labels = [
        name
        for name, (shape, kind) in here.items()
        if kind.kind in "iu" and shape in ((n,), (n, 1)) and name != image
    ]
    return image, only("label", label, labels, kinds, "array of the classes", place) or None


def _holds_images(shape: tuple[int, ...], kind: Any) -> bool:
    return str(kind) in ("uint8", "uint16") and _axes(shape)[0] > 0


def _labels(values: Any, label: str) -> list[int]:
    if values.dtype.kind not in "iu" or values.size != len(values):
        raise SpecError(f"{KEY}.label: {label!r}: needs one whole number for each image")
    if values.size and (wrong := [v for v in (values.min(), values.max()) if not is_class(int(v))]):
        raise SpecError(f"{KEY}.label: {label!r}: has {wrong[0]}, which is no class number")
    return [int(v) for v in values.reshape(-1)]


@functools.lru_cache(maxsize=1)
def _array(file: State, name: str) -> Any:
    """An array (n, H, W, 1 or 3), uint8; it is in memory as a whole, since archives cannot be mapped."""
    import numpy as np

    with np.load(file[0], allow_pickle=False) as arrays:
        found = arrays[name]
    if found.dtype == np.uint16:
        found = (found >> 8).astype(np.uint8)
    if found.ndim == 4 and found.shape[3] not in (1, 3):
        found = found.transpose(0, 2, 3, 1)
    return found[..., 0] if found.ndim == 4 and found.shape[3] == 1 else found


def _pixels(file: State, name: str, i: int) -> Any:
    return _array(file, name)[i]
