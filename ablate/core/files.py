"""Paths as typed, atomic writes, JSON and checksums."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ablate.core.errors import SpecError
from ablate.core.typed import LONGEST

WRITERS = (
    "inline_container",
    "PytorchStreamWriter",
    "IoError",
    "I/O error",
)  # in messages of torch and safetensors


def typed_path(text: str | Path, where: str) -> Path:
    """A path as the user typed it, with `~` and `~user` replaced by that home.

    Args:
        where: the key, option or variable that has the path; begins the error message.
    Raises:
        SpecError: there is no such home, the path is too long, or this locale has no letters for it.
    """
    try:
        os.fsencode(text)
        path = Path(text).expanduser()
        os.lstat(path)
        return path
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise SpecError(
                f"{where}: {str(text)[:LONGEST]!r}...: {os.strerror(error.errno).lower()}"
            ) from None
        return path  # whoever uses it says what is wrong with it
    except UnicodeEncodeError as error:
        reason = f"{error.encoding} has no such letters: set PYTHONUTF8=1"
        raise SpecError(f"{where}: {str(text)!r}: {reason}") from None
    except RuntimeError:
        user = Path(text).parts[0][1:]
        reason = f"there is no user {user!r}" if user else "HOME is not set, and this user has no home folder"
        raise SpecError(f"{where}: {str(text)!r}: {reason}") from None


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` when the block ends and is deleted when the block fails.

    Raises:
        OSError: the disk is full.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (
        RuntimeError,
        SafetensorError,
    ) as error:  # how torch and safetensors report what they cannot write
        full = shutil.disk_usage(path.parent).free < 2**20
        if full or any(
            word in str(error) for word in WRITERS
        ):  # the latter: a quota, or a limit of file sizes
            number = errno.ENOSPC if full else errno.EDQUOT
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """Size and CRC-32 of a file, which show whether it is truncated or altered."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(2**24):
            crc = zlib.crc32(block, crc)
    return f"{path.stat().st_size}-{crc:08x}"


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically.

    Raises:
        ValueError: a number in it is not finite.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if it is missing or cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
