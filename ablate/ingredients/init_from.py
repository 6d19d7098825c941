"""init_from: network, seed -> None; sets the initial weights of the network in place."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.files import typed_path
from ablate.core.registry import Axis
from ablate.core.rng import number

if TYPE_CHECKING:
    from torch import nn

init_from = Axis(__doc__, default="scratch", default_in_key=False)

WEIGHTS = "model.safetensors"  # of a finished cell's folder, and of an export


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
    """The weights in a safetensors file that this package wrote: a model, or the folder of an export.

    The cell's key depends on the content of the file, not on its path. Source: ECT section 3, which starts from a
    trained network.

    Args:
        path: the file, or a folder with `model.safetensors` in it.
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

    def content(self) -> str:
        """A hash of the weights, for the cell's key."""
        return _content(self._file())


@init_from("run")
@dataclass(frozen=True)
class Run:
    """The averaged weights of another finished cell.

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

    def content(self) -> str:
        """A hash of the weights, for the cell's key."""
        return _content(self._file())


def _names(file: Path, place: str) -> list[str]:
    """The names of the tensors of a safetensors file, read from its header; `place` begins the error message."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as opened:  # type: ignore[no-untyped-call]
            return list(opened.keys())
    except (OSError, SafetensorError) as error:
        raise SpecError(f"{place}: not a safetensors file: {' '.join(str(error).split())[:120]}") from None


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
