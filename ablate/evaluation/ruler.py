"""Files of trained in-domain extractors, which measure alike wherever they are copied, and those that are shipped.

A file is named by its content, `classifier-1a2b3c4d.safetensors`: so its path enters no key, and a wrong file is found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from ablate.core.errors import SpecError
from ablate.core.files import atomic_write, typed_path
from ablate.core.lazy import torch

ARCHITECTURE = "cnn-white-1"  # part of the content hash: raise it whenever `network` or `features` changes
SHIPPED = Path(__file__).parent / "rulers"
SUFFIX = ".safetensors"
LABEL = re.compile(r"classifier-[0-9a-f]{8}")
PARAMETERS = (
    "weight",
    "bias",
    "running_mean",
    "running_var",
    "num_batches_tracked",
)  # torch's order in a layer


@dataclass(frozen=True)
class Facts:
    """What is known of a trained classifier: images' shape (C, H, W), number of classes, held-out accuracy.

    origin: how it was made. data: the data set that it is of, as `classifier` identifies it; empty if unknown.
    """

    shape: tuple[int, int, int]
    classes: int
    accuracy: float
    origin: str = field(default="", kw_only=True)
    data: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class Ruler(Facts):
    """A trained classifier: its state is numpy arrays by name."""

    state: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Its name in records and tables, a hash of what decides the features."""
        digest = hashlib.sha256(f"{ARCHITECTURE} {list(self.shape)} {self.classes}".encode())
        for name in sorted(self.state, key=_place):
            digest.update(name.encode() + self.state[name].tobytes())
        return f"classifier-{digest.hexdigest()[:8]}"


@dataclass(frozen=True)
class Header(Facts):
    """What a file says of itself; what it does not say is ''."""

    label: str = ""


def _place(name: str) -> tuple[str, int, int]:
    """Where torch has a parameter among those of the network: `body.3.weight` is ("body", 3, 0)."""
    group, *layer, parameter = name.split(".")
    return group, int(layer[0]) if layer else 0, PARAMETERS.index(parameter)


def header(file: Path) -> Header | None:
    """What a file says of itself, without reading its weights; None if it is no extractor's."""
    from safetensors import safe_open

    with suppress(Exception):  # whatever a damaged file raises
        with safe_open(file, "np") as opened:  # type: ignore[no-untyped-call]
            said: dict[str, str] = opened.metadata()
        channels, height, width = map(int, said["shape"].split(","))
        more = {name: said.get(name, "") for name in ("label", "origin", "data")}
        return Header((channels, height, width), int(said["classes"]), float(said["accuracy"]), **more)
    return None


def read(file: Path) -> Ruler | None:
    """The extractor in a file; None if it is missing or damaged."""
    if file.suffix == ".pt":
        return _read_old(file)
    from safetensors.numpy import load_file

    with suppress(Exception):  # whatever a damaged file raises
        state, said = load_file(file), header(file)
        if said and {_place(name)[0] for name in state} == {"body", "head", "whiten"}:
            more = {"origin": said.origin, "data": said.data}
            return Ruler(said.shape, said.classes, said.accuracy, state, **more)
    return None


def _read_old(file: Path) -> Ruler | None:
    """As versions before 0.2 wrote it."""
    with suppress(Exception):  # torch.load raises nearly anything on a damaged file
        saved = torch.load(file, map_location="cpu", weights_only=True)
        state = {name: tensor.contiguous().numpy() for name, tensor in saved["state"].items()}
        channels, height, width = saved["shape"]
        return Ruler((channels, height, width), saved["classes"], saved["accuracy"], state)
    return None


def write(ruler: Ruler, file: Path) -> None:
    """Write a file that `read` reads."""
    from safetensors.numpy import save_file

    said = {"shape": ",".join(map(str, ruler.shape)), "classes": str(ruler.classes), "label": ruler.label}
    said |= {"accuracy": repr(ruler.accuracy), "origin": ruler.origin, "data": ruler.data}
    with atomic_write(file) as temporary:
        save_file(dict(ruler.state), temporary, said)


def named(text: str) -> bool:
    """Whether a value of `profile.evaluation.extractor` is a file of an extractor, not a name."""
    return text.endswith(SUFFIX)


def check(text: str, where: str) -> Ruler | None:
    """The extractor in a file; None if it is not on this machine, but may be elsewhere under this name.

    Raises:
        SpecError: the file is no extractor's, or is not named by its content.
    """
    file = typed_path(text, where)
    if not file.is_file():
        if not LABEL.fullmatch(file.stem):
            raise SpecError(f"{where}: {text!r}: no such file")
        return None
    if (known := read(file)) is None:
        raise SpecError(f"{where}: {text!r}: not a file of an extractor that this package trained")
    if known.label != file.stem:
        right = f"{known.label}{SUFFIX}"
        raise SpecError(f"{where}: {text!r}: its content is that of {known.label}: name it {right}")
    return known


def find(text: str, cache: Path | None, where: str) -> Ruler:
    """The extractor that `text` names: in this file, or in a copy in `cache` or among the shipped ones.

    Raises:
        SpecError: as `check`, or there is none on this machine.
    """
    if known := check(text, where):
        return known
    label = typed_path(text, where).stem
    copy = {**files(SHIPPED), **(files(cache) if cache else {})}.get(label)
    if copy is None or (known := read(copy)) is None or known.label != label:
        raise SpecError(
            f"{where}: {text!r}: no such file; reports have the extractors of their numbers beside them"
        )
    return known


def fits(known: Ruler, text: str, shape: tuple[int, int, int], where: str) -> None:
    """Check that the extractor that `text` names is of images of this shape (C, H, W).

    Raises:
        SpecError: it is not.
    """
    if known.shape != shape:
        made, given = (" x ".join(map(str, s)) for s in (known.shape, shape))
        raise SpecError(f"{where}: {text!r}: made for images of {made}, but these are {given}")


def files(folder: Path) -> dict[str, Path]:
    """The extractors in a folder by label."""
    found = {file: header(file) for file in sorted(folder.glob(f"classifier-*{SUFFIX}"))}
    return {said.label: file for file, said in found.items() if said and LABEL.fullmatch(said.label)}


def candidates(shape: tuple[int, int, int], classes: int) -> Iterator[Ruler]:
    """The shipped extractors of images of this shape and number of classes."""
    for file in sorted(SHIPPED.glob(f"*{SUFFIX}")):
        said = header(file)
        if said and (said.shape, said.classes) == (shape, classes) and (found := read(file)):
            yield found


def labels(records: Iterable[Mapping[str, Any] | None]) -> set[str]:
    """The labels of the in-domain extractors that some records were measured by."""
    entries = [entry for record in records if record for entry in record.get("fid") or []]
    return {label for entry in entries if LABEL.fullmatch(label := entry.get("extractor") or "")}


def of_data(data: str, cache: Path) -> Path:
    """The file of a data set's own extractor in a cache; `data` identifies the set."""
    return Path(cache) / f"classifier-{data}{SUFFIX}"


def locked(file: Path) -> FileLock:
    """Held by the process that makes or installs an extractor; others wait for it."""
    return FileLock(f"{file}.lock")


def install(folder: Path, wanted: set[str], cache: Path) -> list[str]:
    """Copy extractors from a folder into a cache; a data set that has none there is measured by its own from now on.

    Returns:
        A line for each data set that is measured by another one here.
    """
    lines, offered = list[str](), {file.stem: read(file) for file in folder.glob(f"classifier-*{SUFFIX}")}
    for label, known in offered.items():
        if known is None or known.label != label or label not in wanted:
            continue
        write(known, cache / f"{label}{SUFFIX}")
        if not re.fullmatch("[0-9a-f]{12}", known.data):  # it becomes the name of a file
            continue
        own = of_data(known.data, cache)
        with locked(own):
            if (here := read(own) or read(own.with_suffix(".pt"))) is None:
                write(known, own)
        if here and here.label != label:
            lines.append(
                f"these cells were measured by {label}, cells of this machine by {here.label}: for one column, "
                f"evaluate those with --extractor {cache / f'{label}{SUFFIX}'}"
            )
    return lines
