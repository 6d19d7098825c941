"""Runs cells on an executor and restarts those whose worker died; a crash or hang never touches another cell."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.core import crashes
from ablate.execution.executors import Executor
from ablate.planning.cells import Cell
from ablate.runs import heartbeat
from ablate.runs.record import BUSY, INTERRUPTED, NO_DISK, UNAVAILABLE
from ablate.runs.store import Folder, Store

ELSEWHERE_S = 1.0  # between two checks of a cell that another run computes
KILL_S = 30.0  # for a worker that was asked to stop
TIME_IS_UP = "time is up; the same command continues"
Follow = Callable[[Folder, bool], None]


@dataclass(frozen=True)
class CellEnd:
    """How a cell ended.

    state: of its record (finished, diverged, failed); without a record crashed, interrupted, open (the machine lacks
        something) or stopped (on request).
    reason: why there is no result.
    computed: by this scheduler, not by another run.
    """

    cell: Cell
    folder: Folder
    state: str
    record: dict[str, Any] | None = None
    reason: str = ""
    computed: bool = True

    @staticmethod
    def recorded(cell: Cell, folder: Folder, record: dict[str, Any], computed: bool) -> CellEnd:
        """The end of a cell that has a record."""
        return CellEnd(cell, folder, record["state"], record, record.get("reason", ""), computed)


class Scheduler:
    """Computes cells as workers become free.

    Args:
        follow: called with the folder of every cell that starts (True) or ends (False).
        retries: how often a cell whose worker died is restarted from its checkpoint; other failures would repeat.
        stall_s: seconds without a step after which a worker counts as hanging and is killed; None: never.
        until: of `time.monotonic`, when all cells save and stop; None: never.
    """

    def __init__(
        self,
        executor: Executor,
        store: Store,
        follow: Follow = lambda folder, running: None,
        retries: int = 1,
        stall_s: float | None = None,
        until: float | None = None,
    ):
        self.executor, self.store, self.follow = executor, store, follow
        self.retries, self.stall_s, self.until = retries, stall_s, until
        self.waiting: deque[Cell] = deque()
        self.running: dict[Path, Cell] = {}
        self.started: dict[Path, float] = {}  # when the last worker of a cell started
        self.elsewhere: dict[Path, tuple[Cell, float]] = {}  # another run computes it; when to check again
        self.stopping: dict[Path, tuple[float, str]] = {}  # asked to stop: when, and why if it hung
        self.reasons = dict[Path, str]()  # of `stop`
        self.tries: Counter[Path] = Counter()
        self.helping = set[str]()  # keys of cells that only other cells need
        self.broken = ""  # why no further cell can be computed

    def add(self, cell: Cell) -> None:
        """Compute `cell` when a worker is free.

        The cells that it needs are computed first; those that you did not add neither end nor are followed.
        """
        for need in cell.needs.values():
            if not self.store.record(need.key) and need.key not in self._pending():
                self.add(need)
                self.helping.add(need.key)
        if cell.key in self.helping & self._pending():
            self.helping.discard(cell.key)  # another cell added it already
        else:
            self.waiting.append(cell)

    def _pending(self) -> set[str]:
        """The keys of the cells that have not ended."""
        elsewhere = (cell for cell, _ in self.elsewhere.values())
        return {cell.key for cell in (*self.waiting, *self.running.values(), *elsewhere)}

    @property
    def busy(self) -> bool:
        """Whether any cell has not ended."""
        return bool(self.waiting or self.running or self.elsewhere)

    @property
    def has_capacity(self) -> bool:
        """Whether a further cell would start at once."""
        return not self.waiting and not self.broken and self.executor.has_room()

    def poll(self) -> list[CellEnd]:
        """Start cells while there is room; return those that ended since the last call."""
        groundless = self._groundless()
        self._stop_in_time()
        while not self.broken and self.executor.has_room() and (cell := self._next()):
            self._start(cell)
        self._stop_hanging()
        codes = self.executor.ended()
        ends = [self._end(self.running.pop(path), Folder(path), code) for path, code in codes.items()]
        ended = [*groundless, *(end for end in ends if end), *self._ended_elsewhere(), *self._given_up()]
        return [end for end in ended if end.cell.key not in self.helping]

    def _next(self) -> Cell | None:
        """Take the first waiting cell all of whose needed cells are finished."""
        for i, cell in enumerate(self.waiting):
            if not any(self.store.unfinished(need.key) for need in cell.needs.values()):
                del self.waiting[i]
                return cell
        return None

    def _groundless(self) -> list[CellEnd]:
        """The ends of waiting cells that need a cell which ended without weights."""
        ends = list[CellEnd]()
        for cell in [cell for cell in self.waiting if cell.needs]:
            pending = self._pending()
            needs = [need for need in cell.needs.values() if need.key not in pending]
            if reason := next(filter(None, (self.store.unfinished(need.key) for need in needs)), ""):
                self.waiting = deque(other for other in self.waiting if other.key != cell.key)
                ends.append(CellEnd(cell, self.store.folder(cell.key), "open", reason=reason))
        return ends

    def stop(self, key: str, reason: str) -> None:
        """Let a cell save and stop; it ends as `stopped`, and you may add it again. One that waits is forgotten."""
        path = self.store.folder(key).path
        self.waiting = deque(cell for cell in self.waiting if cell.key != key)
        if path in self.running and path not in self.stopping:
            self.reasons[path] = reason
            self._ask_to_stop(path)

    def cancel(self) -> None:
        """Let all running cells save and stop; a second Ctrl-C ends them at once."""
        try:
            self.executor.cancel(KILL_S)
        except KeyboardInterrupt:
            self.executor.cancel(0)
            raise
        finally:
            for path in self.running:
                self._followed(Folder(path), False)

    def _start(self, cell: Cell) -> None:
        folder = self.store.prepare(cell)
        self.executor.submit(folder.path)
        self.running[folder.path], self.started[folder.path] = cell, time.time()
        self._followed(folder, True)

    def _followed(self, folder: Folder, running: bool) -> None:
        if folder.key not in self.helping:
            self.follow(folder, running)

    def _ask_to_stop(self, path: Path, hung: str = "") -> None:
        self.stopping[path] = time.monotonic(), hung
        self.executor.stop(path)

    def _stop_in_time(self) -> None:
        """Once time is up, let no further cell start, running ones save and stop, and wait for no other run."""
        if self.until is None or time.monotonic() < self.until:
            return
        self.broken = self.broken or TIME_IS_UP
        for path in self.running.keys() - self.stopping.keys():
            self._ask_to_stop(path, TIME_IS_UP)
        for path, (cell, _) in self.elsewhere.items():
            self._followed(Folder(path), False)
            self.waiting.append(cell)
        self.elsewhere.clear()

    def _stop_hanging(self) -> None:
        """Ask workers that hang to stop; kill those that did not stop in time."""
        for path in self.running if self.stall_s else ():
            progress = heartbeat.last(Folder(path)).get("progress", 0)  # perhaps of an earlier worker
            idle = time.time() - max(progress, self.started[path])
            if idle > (self.stall_s or 0) and path not in self.stopping:
                self._ask_to_stop(path, f"no step for {idle:.0f} s")
        for path, (since, _) in self.stopping.items():
            if time.monotonic() - since > KILL_S:
                self.executor.stop(path, at_once=True)

    def _end(self, cell: Cell, folder: Folder, code: int) -> CellEnd | None:
        """The end of a cell whose worker ended; None if the cell is restarted, or if another run computes it."""
        record = self.store.record(cell.key)
        since, hung = self.stopping.pop(folder.path, (0.0, ""))
        asked = self.reasons.pop(folder.path, "it was asked to stop")
        if code == BUSY and not record:
            self.elsewhere[folder.path] = cell, time.monotonic() + ELSEWHERE_S
            return None
        if record:
            self._followed(folder, False)
            return CellEnd.recorded(cell, folder, record, code != BUSY)
        requested = bool(since) and not hung
        if requested or hung == TIME_IS_UP or code in (INTERRUPTED, -15):
            state, reason = "interrupted", hung or asked
        elif code == UNAVAILABLE:
            state, reason = "open", f"{_last_line(folder)}; the same command tries it again"
            heartbeat.note_open(folder, reason)
        else:
            state, reason = "crashed", hung or _reason(folder, code)
            heartbeat.note_crash(folder, reason)
        if code == NO_DISK:
            self.broken = reason
        elif not requested and state != "open" and self._restarted(cell, folder.path):
            return None
        self._followed(folder, False)
        return CellEnd(cell, folder, "stopped" if requested else state, reason=reason)

    def _restarted(self, cell: Cell, path: Path) -> bool:
        """Let the cell wait for a worker that resumes from its checkpoint; False if its retries are used up."""
        if self.tries[path] >= self.retries:
            return False
        self.tries[path] += 1
        self.waiting.append(cell)
        return True

    def _ended_elsewhere(self) -> list[CellEnd]:
        """The cells of another run that have a record now; a cell that it abandoned waits here."""
        ends, now = [], time.monotonic()
        for path, (cell, due) in list(self.elsewhere.items()):
            folder = Folder(path)
            if now < due:
                continue
            self.elsewhere[path] = cell, now + ELSEWHERE_S
            if record := self.store.record(cell.key):
                del self.elsewhere[path]
                self._followed(folder, False)
                ends.append(CellEnd.recorded(cell, folder, record, computed=False))
            elif not folder.held() and not heartbeat.running_elsewhere(folder):
                del self.elsewhere[path]
                self.waiting.append(cell)
        return ends

    def _given_up(self) -> list[CellEnd]:
        """The cells that still wait although no further one can be computed."""
        if not self.broken:
            return []
        cells, self.waiting = self.waiting, deque()
        return [
            CellEnd(cell, self.store.folder(cell.key), "interrupted", reason=self.broken) for cell in cells
        ]


def _last_line(folder: Folder) -> str:
    """The last line of a cell's log, where its worker said why it ended."""
    with suppress(OSError, IndexError):
        return folder.log.read_text(errors="replace").splitlines()[-1]
    return "the machine failed"


def _reason(folder: Folder, code: int) -> str:
    """Why a worker ended without a record."""
    if code != NO_DISK:
        how = (
            f"the worker ended with signal {-code}" if code < 0 else f"the worker ended with exit code {code}"
        )
        if -code in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
            with suppress(OSError):
                how = crashes.crash(folder.log.read_text(errors="replace")) or how
        return f"{how}; its log is {folder.log}"
    if (last := _last_line(folder)).startswith("/"):  # a path and what is wrong with it
        return last
    if not folder.path.exists():
        return f"{folder.path} is gone"
    full = shutil.disk_usage(folder.path).free < 2**20  # then the log could not be written either
    return f"{folder.path}: {'no space left on device' if full else 'it cannot be written'}"
