"""A sign of life of whoever computes a cell: runs/<key>/state.json, rewritten every few seconds."""

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

EVERY_S, STALE_S = 5.0, 60.0  # between two signs; without one, another machine's worker counts as dead
LOOKS, SELDOM_S = 60, 60.0  # so many looks at the machine come with every sign, later ones by the minute


def boot() -> str:
    """What tells this start of the machine from all others."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "unknown"


class Heartbeat:
    """Writes where a cell is, from a thread of its own, until the block ends.

    Leaving it by an exception writes `interrupted`; by a normal way `ended`.

    Args:
        about: what else the file shall say: device, pid, threads.
    """

    def __init__(self, folder: Folder, **about: Any):
        self.folder = folder
        self.said: dict[str, Any] = {"host": socket.gethostname(), "boot": boot(), **about}
        self.said |= {"step": 0, "images": 0, "progress": time.time(), "crashes": crashes(folder)}
        self.ended = threading.Event()
        self.usage, self.looked, self.looks = Usage(), 0.0, _lines(folder.usage)
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def at(self, step: int, images: int) -> None:
        """Note progress; written with the next sign."""
        self.said |= {"step": step, "images": images, "progress": time.time()}

    def __enter__(self) -> Heartbeat:
        self._write("running")
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.thread.join()
        with suppress(Exception):  # what is used is a luxury: no trouble with it may end a cell
            if time.time() - self.looked > EVERY_S / 2:  # a look over an instant would say nothing
                self._note()
        with suppress(OSError):
            self._write("interrupted" if kind else "ended")

    def _beat(self) -> None:
        while not self.ended.wait(EVERY_S):
            with suppress(OSError):  # a full disk is found by what must be written
                self._write("running")
            with suppress(Exception):
                if self.looks < LOOKS or time.time() - self.looked >= SELDOM_S:
                    self._note()

    def _note(self) -> None:
        """One line of usage; a worker that goes on counts on."""
        self.looked = time.time()
        line = {"look": self.looks, "time": self.looked, "metrics": self.usage.look()}
        with self.folder.usage.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.looks += 1

    def _write(self, state: str) -> None:
        write_json(self.folder.state, {"state": state, "time": time.time(), **self.said})


def _lines(file: Path) -> int:
    """How many lines a file has; none where there is no file."""
    try:
        with file.open("rb") as opened:
            return sum(1 for _ in opened)
    except OSError:
        return 0


def last(folder: Folder) -> dict[str, Any]:
    """The last sign of a cell; empty where there was none."""
    found = read_json(folder.state)
    return found if isinstance(found, dict) else {}


def elsewhere(folder: Folder) -> bool:
    """Whether a worker on another machine gave a sign lately: a lock may not reach across a shared disk."""
    sign = last(folder)
    fresh = time.time() - sign.get("time", 0) < STALE_S
    return sign.get("state") == "running" and fresh and sign.get("host") != socket.gethostname()


def state(folder: Folder) -> str:
    """Of a cell without a record: `waiting`, `running`, `interrupted`, `crashed`, or `stale` (ended without a word)."""
    sign = last(folder)
    if sign.get("state") in ("interrupted", "crashed"):
        return str(sign["state"])
    if folder.held() or elsewhere(folder):
        return "running"
    return "stale" if sign.get("state") == "running" else "waiting"


def crashes(folder: Folder) -> int:
    """How often a worker of the cell ended without a word."""
    return int(last(folder).get("crashes", 0))


def crashed(folder: Folder, reason: str) -> None:
    """Note that a worker ended without a record; the next run goes on from its checkpoint."""
    sign = {**last(folder), "state": "crashed", "reason": reason, "time": time.time()}
    with suppress(OSError):  # the disk may be what it died of
        write_json(folder.state, {**sign, "crashes": crashes(folder) + 1})
