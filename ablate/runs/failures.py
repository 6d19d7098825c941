"""Failures of the machine: they are no results, so the cell gets no record and the next run tries it again."""

from __future__ import annotations

import contextlib
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from safetensors import SafetensorError

from ablate.core.errors import SpecError
from ablate.core.lazy import torch
from ablate.runs.record import FULL, UNWRITABLE

# data, weights and packages that are missing or cannot be read, which a SpecError may name too
KINDS = (
    SpecError,
    OSError,
    MemoryError,
    ImportError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    SafetensorError,
)
MEMORY = "out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory"
DEVICE = "CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS", "NCCL error", "PytorchStreamReader failed"
OWN_FAULT = "device-side assert"  # an index out of range, for instance: the recipe's own


class Unavailable(Exception):
    """The machine failed; the message is one line that says how."""


@contextlib.contextmanager
def outside_recipe(*passed: type[BaseException]) -> Iterator[None]:
    """A block that runs no code of the recipe, so that every exception but `passed` is the machine's."""
    try:
        yield
    except passed:
        raise
    except Exception as error:
        reraise(error)


def reraise(error: Exception) -> NoReturn:
    """Raise `error` as Unavailable; as it is, if it says that the disk of the runs cannot be written."""
    if isinstance(error, Unavailable) or unwritable(error):
        raise error
    raise Unavailable(line(error)) from error


def of_machine(error: Exception) -> bool:
    """Whether the machine failed, not the recipe."""
    if isinstance(error, (Unavailable, *KINDS, pickle.UnpicklingError)):
        return True
    said = str(error)
    device = any(word in said for word in DEVICE) and OWN_FAULT not in said
    return isinstance(error, RuntimeError) and (_memory(error) or device)


def of_one_cell(error: Exception, runs: Path) -> Exception:
    """What ended one cell, for a command that computes others next; raises a bug, and what would end those too."""
    if unwritable(error, runs) or not of_machine(error):
        raise error
    return error.__cause__ if isinstance(error.__cause__, SpecError) else error


def unwritable(error: BaseException, runs: Path | None = None) -> bool:
    """Whether a disk is full or read-only, or a file in `runs` cannot be written; every further cell would end so."""
    if not isinstance(error, OSError) or error.errno not in UNWRITABLE:
        return False
    if error.errno in FULL or not isinstance(error.filename, str):
        return True
    return runs is not None and Path(error.filename).absolute().is_relative_to(runs.absolute())


def line(error: BaseException) -> str:
    """What failed, in one line, and what helps."""
    if isinstance(error, OSError) and error.strerror:
        said = f"{error.filename}: {error.strerror.lower()}" if error.filename else error.strerror.lower()
    elif isinstance(error, (SpecError, Unavailable)):
        said = str(error)
    else:
        said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".removesuffix(": ")
    help_ = "; run fewer cells at a time with --workers, or set profile.accumulate" if _memory(error) else ""
    return " ".join(said.split())[:500] + help_


def _memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == torch.OutOfMemoryError.__name__:
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in MEMORY)
