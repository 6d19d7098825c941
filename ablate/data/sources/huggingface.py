"""`huggingface`: sets of the hub, parquet files, and what `save_to_disk` wrote, read by the library `datasets`."""

from __future__ import annotations

import functools
import os
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ablate.config.profile import Data
from ablate.core.errors import SpecError, missing_extra, nearest
from ablate.core.files import typed_path
from ablate.data import archives, survey
from ablate.data.archives import KEY, File, Labelled, State, shown
from ablate.data.sources import Source
from ablate.data.survey import Survey

OFFLINE = "HF_HUB_OFFLINE"  # the library reads it when it is imported
PATIENCE_S = 5.0  # to wait for the hub, before the library's own copies are used without asking it
FORMATS = {".parquet": "parquet", ".arrow": "arrow"}
SAVED = "dataset_dict.json", "state.json"  # files of `save_to_disk`


class HuggingFace(Source, name="huggingface"):
    takes = ("path", "holdout", "config", "split", "test_split", "revision", "image", "label")

    def surveys(self, spec: Data) -> list[Survey]:
        names = list(_parts(spec))
        if not spec.split and "train" not in names and len(names) > 1:
            raise SpecError(f"{KEY}.split: name the split to train on: {', '.join(names)}")
        usual = "train" if "train" in names else names[0]
        chosen = {
            "split": spec.split or usual,
            **({"test_split": spec.test_split} if spec.test_split else {}),
        }
        for key, name in chosen.items():
            if name not in names:
                raise SpecError(f"{KEY}.{key}: {name!r}: no such split; {nearest(name, names)}")
        return [_survey(*_identity(spec), split, spec.image, spec.label) for split in chosen.values()]

    def describe(self, spec: Data, train: Sequence[str], held_out: Sequence[str]) -> str:
        at = f" at {revision[:12]}" if (revision := _revision(spec)) else ""
        place = shown(Path(str(spec.path)).name if _local(spec) else str(spec.path))
        return f"Hugging Face's {place}{at}, {len(train):,} and {len(held_out):,} images"

    def remarks(self, spec: Data) -> list[str]:
        lines, names = super().remarks(spec), list(_parts(spec))
        apart = next((name for name in ("test", "validation", "valid") if name in names), "")
        if apart and spec.test_split is None and spec.holdout is None:
            lines.append(f"it has a split {apart!r}: to hold it out, set {KEY}.test_split={apart}")
        if not spec.revision and (revision := _revision(spec)):
            lines.append(f"it is revision {revision} of {spec.path}; set {KEY}.revision to keep to it")
        return lines


def _local(spec: Data) -> bool:
    return typed_path(str(spec.path), f"{KEY}.path").exists()


def _identity(spec: Data) -> tuple[str, str | None, str | None, tuple[State, ...]]:
    """What decides which set is read; of local files, when they changed last."""
    path = typed_path(str(spec.path), f"{KEY}.path")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return str(path if files else spec.path), spec.config, spec.revision, tuple(map(archives.state, files))


def _parts(spec: Data) -> Mapping[str, Any]:
    return _opened(*_identity(spec))


@functools.lru_cache(maxsize=4)
def _opened(
    path: str, config: str | None, revision: str | None, state: tuple[State, ...]
) -> Mapping[str, Any]:
    """The splits of a set by name. Nothing of the set is run: the library reads data files only.

    Raises:
        SpecError: there is no such set, it has several configs, or the hub cannot be reached.
    """
    library = _library(online=not state)
    folder, where = Path(path), f"{KEY}.path: {path!r}"
    try:
        if state and any((folder / name).is_file() for name in SAVED):
            found = library.load_from_disk(path)
        elif state and folder.is_file():
            if folder.suffix not in FORMATS:
                raise SpecError(f"{where}: {', '.join(FORMATS)} files are read, or a folder")
            found = library.load_dataset(FORMATS[folder.suffix], data_files=path)
        else:
            found = library.load_dataset(path, config, revision=revision)
    except SpecError:
        raise
    except Exception as error:  # the library raises many kinds
        raise _unreadable(where, path, error, bool(state)) from None
    return found if isinstance(found, Mapping) else {str(found.split or "train"): found}


def _unreadable(where: str, path: str, error: Exception, local: bool) -> SpecError:
    said = " ".join(str(error).split())[:200]
    if not local and isinstance(error, ConnectionError):
        name = path.split("/")[-1]
        return SpecError(
            f"{where}: no such file or folder, and the hub cannot be reached: where it can, run "
            f"datasets.load_dataset({path!r}).save_to_disk({name!r}), copy that folder here, and name it in {KEY}.path"
        )
    if type(error).__name__ == "DatasetNotFoundError":
        return SpecError(f"{where}: no such file or folder, and no such set on the hub ({said})")
    if "config" in said.lower():
        return SpecError(f"{KEY}.config: {said}")
    return SpecError(f"{where}: cannot be read: {said}")


def _library(online: bool) -> Any:
    if online and OFFLINE not in os.environ and not _hub_answers():
        os.environ[OFFLINE] = "1"  # otherwise it tries for half a minute before it uses its own copy
    try:
        import datasets
    except ImportError:
        raise missing_extra(f"{KEY}.name: 'huggingface'", "huggingface") from None
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    return datasets


def _hub_answers() -> bool:
    if any(name.lower() in ("https_proxy", "all_proxy") for name in os.environ):
        return True  # the library knows how to ask by way of it
    given = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        url = urlsplit(given if "//" in given else f"https://{given}")
        port = url.port or (80 if url.scheme == "http" else 443)
        socket.create_connection((url.hostname or "", port), PATIENCE_S).close()
    except (OSError, ValueError):
        return False
    return True


def _revision(spec: Data) -> str:
    """The commit that a set of the hub is of; empty for local files."""
    part = next(iter(_parts(spec).values()))
    for url in part.info.download_checksums or ():
        if url.startswith("hf://") and "@" in url:
            return str(url.split("@")[1].split("/")[0])
    return ""


@functools.lru_cache(maxsize=8)
def _survey(
    path: str,
    config: str | None,
    revision: str | None,
    state: tuple[State, ...],
    split: str,
    image: str | None,
    label: str | None,
) -> Survey:
    part = _opened(path, config, revision, state)[split]
    image, label = _columns(part.features, image, label)
    images = part.data.column(image)
    changed = max((last for *_, last in state), default=0)
    files = [  # an image without bytes here is in a file of its own, which may change unseen
        File(f"{split} {i:08d}", n, changed if n else 0, functools.partial(_bytes, images, i))
        for i, n in enumerate(_sizes(images))
    ]
    labels, names = _classes(part, label)
    found = Labelled(files, labels, names, Counter())
    return survey.examined(found, path, reading=[f"labels {labels}"], part=f" {config} {image}")


def _columns(features: Mapping[str, Any], image: str | None, label: str | None) -> tuple[str, str | None]:
    """The columns of images and of classes: as named, else the only ones of their type.

    Raises:
        SpecError: there is no such column, or it is not the only one.
    """
    kinds = {name: _kind(feature) for name, feature in features.items()}
    images = [name for name, kind in kinds.items() if kind == "images"]
    image = archives.only("image", image, images, kinds, "column of the images")
    if kinds[image] not in ("images", "binary"):
        listed = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        raise SpecError(f"{KEY}.image: {image!r}: holds no images; there are: {listed}")
    labels = [name for name, kind in kinds.items() if kind.endswith("classes")]
    return image, archives.only("label", label, labels, kinds, "column of the classes") or None


def _kind(feature: Any) -> str:
    """A column's type in words."""
    if type(feature).__name__ == "Image" or (
        isinstance(feature, Mapping) and {*feature} == {"bytes", "path"}
    ):
        return "images"
    if type(feature).__name__ == "ClassLabel":
        return f"{feature.num_classes} classes"
    return str(getattr(feature, "dtype", type(feature).__name__))


def _sizes(images: Any) -> list[int]:
    """Bytes of each image's file, 0 if it is not in the column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images
    sizes: list[int] = pc.fill_null(pc.binary_length(column), 0).to_pylist()
    return sizes


def _bytes(images: Any, i: int) -> bytes:
    value = images[i].as_py()
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None and isinstance(value, dict) and value.get("path"):
        content = Path(value["path"]).read_bytes()
    if content is None:
        raise ValueError("the column has no value here")
    return bytes(content)


def _classes(part: Any, label: str | None) -> tuple[list[int], list[str]]:
    """A class number for each image, and the names of the classes where they are text.

    Raises:
        SpecError: an image has no class.
    """
    if label is None:
        return [0] * len(part), []
    values = part.data.column(label).to_pylist()
    if all(isinstance(v, str) for v in values):
        names = sorted(set(values))
        number = {name: i for i, name in enumerate(names)}
        return [number[v] for v in values], names
    if wrong := [i for i, v in enumerate(values) if not archives.is_class(v)]:
        value = values[wrong[0]]
        raise SpecError(
            f"{KEY}.label: {label!r}: image {wrong[0]} has {value!r:.40}, which is no class number"
        )
    return values, []
