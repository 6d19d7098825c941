"""The journal of trials: Optuna's file of lines, whose torn end and abandoned lock do not stop a study."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileSymlinkLock

from ablate.core.files import atomic_write
from ablate.study.process import ended, owner

GRACE_S = 20.0  # a lock that stays the same for so long is abandoned: holders write one line
PAUSE_S = 0.25  # at most, between two looks at a lock
START = b'{"op_code"'  # of every line


class Journal(JournalFileBackend):
    """The journal in `file`, to be written; broken lines are removed when it is opened and before each write."""

    def __init__(self, file: Path):
        self.file, self.lock = file, Lock(file)
        super().__init__(str(file), lock_obj=self.lock)
        self.lock.acquire()
        try:
            mend(file)
        finally:
            self.lock.release()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write operations.

        Raises:
            OSError: it cannot be written; the error names the file.
        """
        try:
            super().append_logs(logs)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.file)) from None


class Snapshot(BaseJournalBackend):
    """The whole lines that a journal has now, to be read only: no lock is taken, nothing is written."""

    def __init__(self, file: Path):
        self.logs = [json.loads(line) for line in _whole_lines(file.read_bytes())]

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """The operations from a number on."""
        yield from self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse to write."""
        raise AssertionError(f"{len(logs)} operations for a journal that is only read")


class Lock(JournalFileSymlinkLock):
    """Optuna's symbolic link beside the journal, but it names its holder, so that others see whether that has ended.

    Optuna's own link leads to the journal: it waits for ever, without a pause, for one that leads nowhere.
    """

    def __init__(self, file: Path):
        super().__init__(str(file))
        self.file, self.path = file, Path(f"{file}.lock")
        self.token = json.dumps([*owner(), uuid.uuid4().hex])

    def acquire(self) -> bool:
        """Wait for the lock, and take over one that was abandoned."""
        seen, since, pause = None, 0.0, 0.001
        while not self._made():
            if (now := self._holder()) is None:
                continue  # released this moment
            if now != seen:
                seen, since = now, time.monotonic()
            if _abandoned(now[0]):
                self._remove(now, "the process that made it has ended")
            elif time.monotonic() - since > GRACE_S:
                self._remove(now, f"nobody has released it for {GRACE_S:.0f} s")
            time.sleep(pause)
            pause = min(2 * pause, PAUSE_S)
        with suppress(FileNotFoundError):
            if not _ends_whole(self.file):
                mend(self.file)
        return True

    def release(self) -> None:
        """Remove the lock, unless another process has taken it over."""
        if (holder := self._holder()) and holder[0] == self.token:
            self.path.unlink(missing_ok=True)

    def _made(self) -> bool:
        try:
            os.symlink(self.token, self.path)
        except FileExistsError:
            return False
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        return True

    def _holder(self) -> tuple[str, int, int] | None:
        """The link's text and what distinguishes it from a later one with the same text; None without a link."""
        try:
            state = self.path.lstat()
            text = os.readlink(self.path) if self.path.is_symlink() else ""
        except FileNotFoundError:
            return None
        return text, state.st_ino, state.st_mtime_ns

    def _remove(self, holder: tuple[str, int, int], reason: str) -> None:
        """Remove an abandoned lock unless another process did so before; of several, one succeeds in renaming it."""
        aside = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):
            if self._holder() == holder:
                self.path.rename(aside)
                aside.unlink()
                _say(f"{self.path}: removed: {reason}")


def _abandoned(text: str) -> bool:
    """Whether the process that a lock names has ended; False where that cannot be known."""
    try:
        *process, _ = json.loads(text)
        return bool(ended(process))
    except (ValueError, TypeError):
        return False


def mend(file: Path) -> None:
    """Remove what a killed process or a full disk left of lines; call it with the lock held."""
    content = file.read_bytes()
    whole = b"".join(line + b"\n" for line in _whole_lines(content))
    if whole != content:
        with atomic_write(file) as temporary:
            temporary.write_bytes(whole)
        _say(f"{file}: half a line, which a killed process or a full disk left, was removed")


def _whole_lines(content: bytes) -> Iterator[bytes]:
    """Each operation of a journal; of a line that was appended to half a line, the later one."""
    for line in content.split(b"\n"):
        start = 0
        while 0 <= start < len(line) and not _is_whole(line[start:]):
            start = line.find(START, start + 1)
        if 0 <= start < len(line):
            yield line[start:]


def _is_whole(line: bytes) -> bool:
    try:
        return line.startswith(START) and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _ends_whole(file: Path) -> bool:
    with file.open("rb") as content:
        if content.seek(0, os.SEEK_END):
            content.seek(-1, os.SEEK_END)
            return content.read() == b"\n"
    return True


def _say(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
