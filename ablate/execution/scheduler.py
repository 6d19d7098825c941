"""Cells through an executor: what ends one of them, crash, hang or signal, never touches another."""

from __future__ import annotations

import shutil
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.execution.executors import Executor
from ablate.planning.cells import Cell
from ablate.runs import heartbeat
from ablate.runs.record import BUSY, INTERRUPTED, NO_DISK
from ablate.runs.store import Folder, Store

POLL_S = 0.1  # between two looks at the workers
ASK_S = 1.0  # between two looks at a cell that another run computes
KILL_S = 30.0  # for a worker that was told to stop
Follow = Callable[[Folder, bool], None]


@dataclass(frozen=True)
class Ended:
    """A cell that is done with.

    state: of its record (finished, diverged, failed); or without one crashed, interrupted, stopped (as was wished).
    computed: by this crew, not by another run.
    """

    cell: Cell
    folder: Folder
    state: str
    record: dict[str, Any] | None = None
    reason: str = ""
    computed: bool = True


class Crew:
    """Computes cells as workers become free.

    Args:
        follow: told of every cell that starts (True) or ends (False).
        retries: how often a cell whose worker died is begun again, from its checkpoint; other failures repeat.
        stall_s: seconds without a step after which a worker counts as hanging and is killed; None: never.
    """

    def __init__(
        self,
        executor: Executor,
        store: Store,
        follow: Follow = lambda folder, running: None,
        retries: int = 1,
        stall_s: float | None = None,
    ):
        self.executor, self.store, self.follow = executor, store, follow
        self.retries, self.stall_s = retries, stall_s
        self.waiting: deque[Cell] = deque()
        self.running: dict[Path, Cell] = {}
        self.begun: dict[Path, float] = {}
        self.elsewhere: dict[Path, tuple[Cell, float]] = {}  # another run computes it; when to look again
        self.stopping: dict[Path, tuple[float, str]] = {}  # told to stop: when, and why if it hung
        self.tries: Counter[Path] = Counter()
        self.broken = ""  # why no further cell can be computed

    def add(self, cell: Cell) -> None:
        """Compute `cell` when a worker is free."""
        self.waiting.append(cell)

    @property
    def busy(self) -> bool:
        """Whether any cell is not done with."""
        return bool(self.waiting or self.running or self.elsewhere)

    @property
    def hungry(self) -> bool:
        """Whether a further cell would be begun at once."""
        return bool(not self.waiting and not self.broken and self.executor.free())

    def poll(self) -> list[Ended]:
        """Start what there is room for; what ended since the last call."""
        while self.waiting and not self.broken and self.executor.free():
            self._start(self.waiting.popleft())
        self._watch()
        codes = self.executor.ended()
        found = [self._ended(self.running.pop(path), Folder(path), code) for path, code in codes.items()]
        found += self._looked()
        while self.waiting and self.broken:
            cell = self.waiting.popleft()
            found.append(Ended(cell, self.store.folder(cell.key), "interrupted", reason=self.broken))
        return [ended for ended in found if ended]

    def stop(self, key: str) -> None:
        """Let a cell save and stop; it ends as `stopped`, and may be begun again later. One that waits is forgotten."""
        path = self.store.folder(key).path
        self.waiting = deque(cell for cell in self.waiting if cell.key != key)
        if path in self.running and path not in self.stopping:
            self.stopping[path] = time.monotonic(), ""
            self.executor.stop(path)

    def cancel(self) -> None:
        """Let all running cells save and stop; a second Ctrl-C ends them at once."""
        try:
            self.executor.cancel(KILL_S)
        except KeyboardInterrupt:
            self.executor.cancel(0)
            raise
        finally:
            for path in self.running:
                self.follow(Folder(path), False)

    def _start(self, cell: Cell) -> None:
        folder = self.store.prepare(cell)
        self.executor.submit(folder.path)
        self.running[folder.path], self.begun[folder.path] = cell, time.time()
        self.follow(folder, True)

    def _watch(self) -> None:
        """Stop workers that hang; kill those that did not stop."""
        now = time.monotonic()
        for path in self.running if self.stall_s else ():
            progress = heartbeat.last(Folder(path)).get("progress", 0)  # perhaps of an earlier worker
            idle = time.time() - max(progress, self.begun[path])
            if idle > (self.stall_s or 0) and path not in self.stopping:
                self.stopping[path] = now, f"no step for {idle:.0f} s"
                self.executor.stop(path)
        for path, (since, _) in self.stopping.items():
            if now - since > KILL_S:
                self.executor.stop(path, at_once=True)

    def _ended(self, cell: Cell, folder: Folder, code: int) -> Ended | None:
        record = self.store.record(cell.key)
        since, hung = self.stopping.pop(folder.path, (0.0, ""))
        if code == BUSY and not record:
            self.elsewhere[folder.path] = cell, time.monotonic() + ASK_S
            return None
        if record:
            self.follow(folder, False)
            return Ended(cell, folder, record["state"], record, record.get("reason", ""), code != BUSY)
        wished = bool(since) and not hung
        if wished or code in (INTERRUPTED, -15):
            state, reason = "interrupted", "it was asked to stop"
        else:
            state, reason = "crashed", hung or _how(folder, code)
            heartbeat.crashed(folder, reason)
        if code == NO_DISK:
            self.broken = reason
        elif not wished and self.tries[folder.path] < self.retries:
            self.tries[folder.path] += 1
            self.waiting.append(cell)
            return None
        self.follow(folder, False)
        return Ended(cell, folder, "stopped" if wished else state, reason=reason)

    def _looked(self) -> list[Ended]:
        """The cells of another run that have their record; one that it gave up is computed here."""
        found, now = [], time.monotonic()
        for path, (cell, when) in list(self.elsewhere.items()):
            folder = Folder(path)
            if now < when:
                continue
            self.elsewhere[path] = cell, now + ASK_S
            if record := self.store.record(cell.key):
                del self.elsewhere[path]
                self.follow(folder, False)
                reason = record.get("reason", "")
                found.append(Ended(cell, folder, record["state"], record, reason, computed=False))
            elif not folder.held() and not heartbeat.elsewhere(folder):
                del self.elsewhere[path]
                self.waiting.append(cell)
        return found


def _how(folder: Folder, code: int) -> str:
    if code != NO_DISK:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the worker ended with {how}; its log is {folder.log}"
    with suppress(OSError, IndexError):
        said = folder.log.read_text().splitlines()[-1]
        if said.startswith("/"):  # the worker's last words, a path and what is wrong with it
            return said
    if not folder.path.exists():
        return f"{folder.path} is gone"
    full = shutil.disk_usage(folder.path).free < 2**20  # then its log took no words either
    return f"{folder.path}: {'no space left on device' if full else 'it can not be written'}"
