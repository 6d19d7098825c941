"""init_from: network, seed -> None; sets the initial weights of the network in place."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.files import read_json, typed_path
from ablate.core.lazy import torch
from ablate.core.registry import AXES, Axis, Option, values
from ablate.core.rng import number
from ablate.ingredients.other_cell import WEIGHTS, OfRecipe

if TYPE_CHECKING:
    from torch import nn

CONVERTED = "converted.json"  # beside the weights that `convert` wrote
FED = ("noise_precond", "input_precond")  # what a converted network gets must be what it was trained on


class InitFrom(Option):
    """Weights from elsewhere must be of the recipe's network."""

    def fits(self, parts: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> None:
        """Raise a SpecError if the weights are of another network.

        Args:
            parts: the recipe's ingredients by axis.
            shape: (C, H, W) of the images.
            classes: that the network is conditioned on.
        """

    def untrained(self) -> Any:
        """The option with random weights in place of those from elsewhere."""
        return Scratch() if self.reads_files else self


init_from = Axis(__doc__, default="scratch", base=InitFrom, default_in_key=False)


@init_from("scratch")
@dataclass(frozen=True)
class Scratch:
    """Random weights from the seed; every module draws from its own stream, which depends on the module's name.

    Modules with the same name and shapes start equal in every recipe. Source: iCT trains from scratch.
    """

    def __call__(self, network: nn.Module, seed: int) -> None:
        from ablate.networks import seed_parameters

        seed_parameters(network, lambda name: number(seed, "init", name))


@init_from("file")
@dataclass(frozen=True)
class File:
    """The weights in a safetensors file that this package wrote: a model, an export, or a converted checkpoint.

    The cell's key depends on the content of the file, not on its path. Source: ECT section 3, which starts from a
    trained network.

    Args:
        path: the file, or a folder with `model.safetensors` in it. `ablate convert` writes one from a
            checkpoint of EDM, ECT, Consistency Models or diffusers.
    """

    path: str
    excluded_from_key = ("path",)
    reads_files = True

    def __call__(self, network: nn.Module, seed: int) -> None:
        _load(network, self._file(), f"init_from.path: {self.path!r}")

    def _file(self) -> Path:
        path = typed_path(self.path, "init_from.path")
        return path / WEIGHTS if path.is_dir() else path

    def require(self) -> None:
        """Raise a SpecError if there is no safetensors file at `path`."""
        _names(self._file(), f"init_from.path: {self.path!r}")

    def fits(self, parts: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> None:
        """Raise a SpecError that names the fields with which the weights would fit."""
        _check(self._file(), f"init_from.path: {self.path!r}", parts, shape, classes)

    def content(self) -> str:
        """A hash of the weights, for the cell's key."""
        return _content(self._file())


@init_from("run")
@dataclass(frozen=True)
class Run:
    """The averaged weights of another finished cell. Source: this package.

    Args:
        key: the key of that cell, or its first digits.
        runs: the runs directory that contains it.
    """

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{1,12}$")]
    runs: str = "runs"
    excluded_from_key = ("key", "runs")
    reads_files = True

    def __call__(self, network: nn.Module, seed: int) -> None:
        _load(network, self._file(), f"init_from.key: {self.key!r}")

    def _file(self) -> Path:
        runs = typed_path(self.runs, "init_from.runs")
        files = sorted(runs.glob(f"{self.key}*/{WEIGHTS}"))
        if len(files) != 1:
            reason = f"{len(files)} finished cells begin so" if files else "no finished cell"
            raise SpecError(f"init_from.key: {self.key!r}: {reason} in {runs.resolve()}")
        return files[0]

    def require(self) -> None:
        """Raise a SpecError unless exactly one finished cell matches `key`."""
        _names(self._file(), f"init_from.key: {self.key!r}")

    def fits(self, parts: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> None:
        """Raise a SpecError that names the fields with which the weights would fit."""
        _check(self._file(), f"init_from.key: {self.key!r}", parts, shape, classes)

    def content(self) -> str:
        """A hash of the weights, for the cell's key."""
        return _content(self._file())


@init_from("recipe")
@dataclass(frozen=True)
class Trained(OfRecipe):
    """The averaged weights of the cell that another recipe has with the same profile, seed and images.

    `run` computes that cell first. It has this recipe's network, embedding, levels, preconditioning and
    parameterization, so that its weights fit and mean the same; the rest is its recipe's, with the profile's `adapt`.
    Source: ECT (arXiv 2406.14548) section 3, which tunes a diffusion network: `recipe: edm`.

    Args:
        recipe: a name or a path.
        share: of the profile's images that the other cell is trained on; this one is trained on the rest, so that both
            together cost as much as a cell from scratch. Unset: each is trained on all.
    """

    def given(self, folder: Path) -> File:
        """The weights in the folder of that cell."""
        return File(str(folder / WEIGHTS))

    def __call__(self, network: nn.Module, seed: int) -> None:
        raise SpecError("init_from.recipe: only `run` and `study` know the cell of another recipe")


def _names(file: Path, place: str) -> list[str]:
    """The names of the tensors of a safetensors file, read from its header; `place` begins the error message."""
    from safetensors import SafetensorError, safe_open

    if not file.exists():
        ways = "`ablate export KEY --out FOLDER`, or `ablate convert CHECKPOINT --out FOLDER`"
        raise SpecError(f"{place}: there is no {file}; {ways}, writes a folder of weights")
    try:
        with safe_open(file, "np") as opened:  # type: ignore[no-untyped-call]
            return list(opened.keys())
    except (OSError, SafetensorError) as error:
        raise SpecError(f"{place}: not a safetensors file: {' '.join(str(error).split())[:120]}") from None


def _check(
    file: Path, place: str, parts: Mapping[str, Any], shape: tuple[int, int, int], classes: int
) -> None:
    """Compare the weights, and what is known of their network, with the recipe."""
    known = read_json(file.with_name(CONVERTED)) or read_json(file.with_name("config.json"))
    known = known if isinstance(known, dict) else {}
    specs = known.get("recipe")
    fed: tuple[str, ...] = FED
    if not isinstance(specs, dict):  # of an export or a run, whose recipe you may change
        specs, fed = known.get("specs") or {}, ()
    misfit = _misfit(file, parts["network"], shape, classes)
    said = [
        line
        for axis in ("network", "embedding", *fed)
        for line in _differing(specs.get(axis), parts[axis], bool(misfit) or axis != "network")
    ]
    if misfit and known.get("classes", classes) != classes:
        said.append(f"they are for {known['classes']} classes, but profile.data has {classes}")
    if misfit and known.get("image_shape", list(shape)) != list(shape):
        said.append(f"they are for images {known['image_shape']}, but these are {list(shape)}")
    if misfit or said:
        raise SpecError(f"{place}: weights of another network: {'; '.join(said or [misfit])}")


def _differing(spec: Any, part: Any, everything: bool) -> list[str]:
    """The fields that must change for the weights to fit; unless `everything`, those that no shape shows."""
    if not isinstance(spec, dict):
        return []
    axis, name = part.axis, spec.get("name")
    if name != part.name:
        return [f"{axis} must be {name}, but is {part.name}"]
    own, theirs = values(part), {**AXES[axis].fields(part.name), **spec}
    free = {*getattr(part, "free", ()), *(("scale",) if own.get("stored") and theirs.get("stored") else ())}
    compared = [f for f in own if f not in free and (everything or f in part.unseen)]
    texts = [(f, json.dumps(theirs[f]), json.dumps(own[f])) for f in compared]  # tuples and lists alike
    return [f"{axis}.{f} must be {there}, but is {here}" for f, there, here in texts if there != here]


def _misfit(file: Path, network: Any, shape: tuple[int, int, int], classes: int) -> str:
    """How the tensors of a file differ from those of a network; empty if they do not."""
    status = file.stat()
    key = (
        str(file),
        status.st_mtime_ns,
        repr(network),
        repr(getattr(network, "embedding", None)),
        shape,
        classes,
    )
    if key not in _misfits:
        _misfits[key] = _compare(file, network, shape, classes)
    return _misfits[key]


_misfits: dict[tuple[Any, ...], str] = {}


def _compare(file: Path, network: Any, shape: tuple[int, int, int], classes: int) -> str:
    from safetensors import safe_open

    try:
        with torch.device("meta"):
            wanted = {name: list(t.shape) for name, t in network(shape, classes).state_dict().items()}
    except SpecError:
        raise
    except Exception:  # your own network may need a device; the worker compares again
        return ""
    with safe_open(file, "np") as opened:  # type: ignore[no-untyped-call]
        found = {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            return (
                f"the tensor {name!r} is {found.get(name, 'missing')}, not {wanted.get(name, 'part of it')}"
            )
    return ""


def _load(network: nn.Module, file: Path, place: str) -> None:
    from safetensors.torch import load_file

    _names(file, place)
    try:
        network.load_state_dict(load_file(file))
    except RuntimeError as error:
        first = " ".join(str(error).split("\n", 1)[-1].split())
        raise SpecError(f"{place}: weights of another network: {first[:200]}") from None


def _content(file: Path) -> str:
    status = file.stat()
    return _hash(file, status.st_mtime_ns, status.st_size)


@functools.cache
def _hash(file: Path, _changed: int, _size: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:12]
