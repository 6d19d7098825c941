"""The heartbeat of a running cell: runs/<key>/state.json, rewritten every few seconds by its worker."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ablate.core.files import read_json, write_json
from ablate.core.usage import Usage
from ablate.runs.store import Folder

EVERY_S = 5.0  # between two heartbeats
STALE_S = 60.0  # a worker on another machine counts as dead after so long without a heartbeat
DENSE, SPARSE_S = 60, 60.0  # each heartbeat measures usage until there are 60 lines, then one a minute does


def boot() -> str:
    """An identifier that changes each time the machine starts."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "unknown"


class Heartbeat:
    """Writes the progress of a cell from a thread, until the block ends.

    The final state is `ended`, or `interrupted` if an exception leaves the block.

    Args:
        about: further fields of the file: device, pid, threads.
    """

    def __init__(self, folder: Folder, **about: Any):
        self.folder = folder
        self.fields: dict[str, Any] = {"host": socket.gethostname(), "boot": boot(), **about}
        self.fields |= {"step": 0, "images": 0, "progress": time.time(), "crashes": crash_count(folder)}
        self.ended = threading.Event()
        self.usage, self.measured, self.lines = Usage(), 0.0, _line_count(folder.usage)
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def at(self, step: int, images: int) -> None:
        """Set the progress that the next heartbeat writes."""
        self.fields |= {"step": step, "images": images, "progress": time.time()}

    def __enter__(self) -> Heartbeat:
        self._write("running")
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.thread.join()
        with suppress(Exception):  # usage is optional: its errors must not end a cell
            if time.time() - self.measured > EVERY_S / 2:  # usage over a shorter time is meaningless
                self._measure()
        with suppress(OSError):
            self._write("interrupted" if kind else "ended")

    def _beat(self) -> None:
        while not self.ended.wait(EVERY_S):
            with suppress(OSError):  # on a full disk, the next checkpoint or record fails too, and reports it
                self._write("running")
            with suppress(Exception):
                if self.lines < DENSE or time.time() - self.measured >= SPARSE_S:
                    self._measure()

    def _measure(self) -> None:
        """Append one line of usage; the numbering continues when a worker resumes a cell."""
        self.measured = time.time()
        line = {"look": self.lines, "time": self.measured, "metrics": self.usage.measure()}
        with self.folder.usage.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.lines += 1

    def _write(self, state: str) -> None:
        write_json(self.folder.state, {"state": state, "time": time.time(), **self.fields})


def _line_count(file: Path) -> int:
    """The number of lines of a file; 0 if there is no file."""
    try:
        with file.open("rb") as opened:
            return sum(1 for _ in opened)
    except OSError:
        return 0


def last(folder: Folder) -> dict[str, Any]:
    """The last heartbeat of a cell; empty if there was none."""
    beat = read_json(folder.state)
    return beat if isinstance(beat, dict) else {}


def running_elsewhere(folder: Folder) -> bool:
    """Whether a worker on another machine computes the cell; file locks may not work across a shared disk."""
    beat = last(folder)
    return beating(beat) and beat.get("host") != socket.gethostname()


def state(folder: Folder) -> str:
    """The state of a cell without a record.

    Returns:
        `running`, `crashed`, `stopped` (on request, or with the run that computed it), or `open` (nothing was computed,
        or this machine lacks something).
    """
    if folder.held() or running_elsewhere(folder):
        return "running"
    said = last(folder).get("state")
    return "crashed" if said == "crashed" else "stopped" if said in ("interrupted", "running") else "open"


def beating(beat: dict[str, Any]) -> bool:
    """Whether a heartbeat is of a worker that runs now, as far as its age says."""
    return beat.get("state") == "running" and time.time() - beat.get("time", 0) < STALE_S


def crash_count(folder: Folder) -> int:
    """How often workers of the cell crashed."""
    return int(last(folder).get("crashes", 0))


def note_open(folder: Folder, reason: str) -> None:
    """Record in state.json what the machine lacked; the next run tries again."""
    beat = {**last(folder), "state": "open", "reason": reason, "time": time.time()}
    with suppress(OSError):
        write_json(folder.state, beat)


def note_crash(folder: Folder, reason: str) -> None:
    """Record in state.json that a worker crashed; the next run resumes from its checkpoint."""
    beat = {**last(folder), "state": "crashed", "reason": reason, "time": time.time()}
    with suppress(OSError):  # a full disk may be why it crashed
        write_json(folder.state, {**beat, "crashes": crash_count(folder) + 1})
