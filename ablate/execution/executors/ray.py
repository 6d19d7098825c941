"""Cells as tasks of a ray cluster: each runs the cell's command on whichever node has room."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import filelock

from ablate.core.errors import SpecError
from ablate.core.hardware import cores
from ablate.execution.executors.command import Command, run
from ablate.execution.executors.mirror import EVERY_S, LIVE, Mirror, check, mirrored, sure
from ablate.runs.record import BUSY, INTERRUPTED, NO_DISK
from ablate.runs.store import Folder


class Ray:
    """At most `workers` cells at a time, on a running cluster or on one that starts here and ends with the process.

    Without a mirror the runs directory is on a disk that all nodes share, and `ablate` is installed on each. ray
    repeats nothing by itself. A cell that is stopped gets SIGTERM and saves; one that is ended at once, or whose node
    or ray worker dies, goes on from its last checkpoint when it is submitted again.

    With a mirror a cell begins from what is at the URL, where there is anything, and its folder comes back when it
    ends; of one that is ended at once a copy stays in the node's folder for temporary files. Only runs that are
    submitted from the same runs directory know of each other's cells.

    Args:
        cpus: of each cell, and the threads of its torch.
        gpus: of each cell; a fraction shares one.
        workers: None: as many as the nodes have room for now. A cluster that grows with its queue needs a number.
        address: of the cluster; None: RAY_ADDRESS, else a cluster of this machine, on its loopback address only.
        mirror: an fsspec URL for the cells' folders, where the nodes share no disk: `s3://bucket/runs`.
    Raises:
        SpecError: no ray, no cluster that answers, no node that can ever hold a cell, a mirror that can not be written.
    """

    def __init__(
        self,
        cpus: int = 1,
        gpus: float = 0.0,
        workers: int | None = None,
        address: str | None = None,
        mirror: str | None = None,
    ):
        _countable(cpus, gpus)
        if mirror is not None:
            check(mirror)
        self.ray = _connected(address)
        self.cpus, self.gpus, self.mirror = cpus, gpus, mirror
        room = self._room()
        self.workers = room if workers is None else workers
        self.task = self.ray.remote(max_retries=0, num_cpus=cpus, num_gpus=gpus)(_task)
        self.running: dict[Path, Any] = {}
        self.codes: dict[Path, int] = {}  # of cells that ended and were not asked for yet
        self.killed: set[Path] = set()
        self.locks: dict[Path, filelock.BaseFileLock] = {}  # of cells that a node computes on a copy
        self.looked = time.monotonic()

    def free(self) -> bool | None:
        """True where a further cell may be submitted."""
        return len(self.running) < self.workers or None

    def submit(self, folder: Path) -> None:
        """Queue the cell in `folder`."""
        if self.mirror and not self._offered(folder):
            self.codes[folder] = BUSY
            return
        command = Command.of(folder, "cuda" if self.gpus else "cpu", self.cpus)
        self.running[folder] = self.task.remote(command, self.mirror)

    def ended(self) -> dict[Path, int]:
        """The cells that ended since the last call, with their exit codes; -9 where a worker or a node died."""
        self._collect(0)
        if self.mirror and time.monotonic() - self.looked > EVERY_S:
            for folder in self.running:
                self._fetch(folder, live=True)
            self.looked = time.monotonic()
        codes, self.codes = self.codes, {}
        return codes

    def stop(self, folder: Path, at_once: bool = False) -> None:
        """Ask one cell to save and stop, or end it at once with ray's worker."""
        if folder not in self.running or folder in self.killed:
            return
        if at_once:
            self.killed.add(folder)
        self.ray.cancel(self.running[folder], force=at_once)

    def cancel(self, grace_s: float = 30.0) -> None:
        """Ask all to save and stop; end those that do not within `grace_s` seconds. What has not begun never does."""
        for folder in self.running:
            self.stop(folder, at_once=grace_s <= 0)
        self._collect(grace_s)
        for folder in self.running:
            self.stop(folder, at_once=True)
        self._collect(1.0)

    def _room(self) -> int:
        """How many cells fit on the nodes when nothing else runs there."""
        need = f"{self.cpus} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if room := sum(_fit(node, self.cpus, self.gpus) for node in nodes):
            return room
        total = self.ray.cluster_resources()
        has = f"{total.get('CPU', 0):g} CPU and {total.get('GPU', 0):g} GPU"
        raise SpecError(
            f"ray: a cell needs {need} on one node, but the cluster has {has} on {len(nodes)} node(s) in all"
        )

    def _collect(self, timeout_s: float) -> None:
        """Note the codes of all tasks that are done; wait for them at most so long."""
        if not self.running:
            return
        tasks = list(self.running.values())
        done = set(self.ray.wait(tasks, num_returns=len(tasks), timeout=timeout_s)[0])
        for folder in [f for f, task in self.running.items() if task in done]:
            code, reason = self._result(folder)
            if self.mirror:
                reason = reason or self._fetch(folder)
                code = NO_DISK if reason and code == 0 else code
            if reason:
                with Folder(folder).log.open("a") as log:
                    log.write(f"ray: {reason}\n")
            self.codes[folder] = code
            if lock := self.locks.pop(folder, None):
                lock.release()

    def _result(self, folder: Path) -> tuple[int, str]:
        """How a task ended: exit code, and what its own log does not say."""
        errors = self.ray.exceptions
        try:
            code, reason = self.ray.get(self.running.pop(folder))
            return int(code), str(reason)
        except errors.TaskCancelledError:
            return (-signal.SIGKILL, "") if folder in self.killed else (INTERRUPTED, "")
        except errors.RayTaskError as error:
            return 1, str(error)
        except errors.RayError as error:
            return -signal.SIGKILL, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        finally:
            self.killed.discard(folder)

    def _offered(self, folder: Path) -> bool:
        """Put a cell where a node finds it; false where another run on this machine has done so."""
        lock = Folder(folder).lock()
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        url = str(self.mirror)
        cache = Mirror(url, folder.parent / "cache")
        if problem := sure(Mirror(url, folder).offer, url) or sure(cache.share, url):
            lock.release()
            raise SpecError(f"mirror: {problem}")
        self.locks[folder] = lock
        return True

    def _fetch(self, folder: Path, live: bool = False) -> str:
        mirror = Mirror(str(self.mirror), folder)
        return sure(lambda: mirror.fetch(LIVE if live else None), mirror.root)


def _countable(cpus: int, gpus: float) -> None:
    if cpus < 1:
        raise SpecError(f"ray: cpus: {cpus}: a cell needs at least 1")
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise SpecError(f"ray: gpus: {gpus}: whole GPUs, or a fraction of one")


def _fit(node: dict[str, float], cpus: int, gpus: float) -> int:
    """How many cells a node holds; the shares of a fraction lie on one GPU."""
    room = int(node.get("CPU", 0) // cpus)
    if gpus:
        have = int(node.get("GPU", 0))
        room = min(room, int(have // gpus) if gpus >= 1 else have * int(1 / gpus + 1e-6))
    return room


def _connected(address: str | None) -> Any:
    """The module, connected to a cluster."""
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == "local":  # else ray's servers listen on all of the machine's addresses; read at the import
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError:
        raise SpecError("ray needs the extra ray: pip install ablate[ray]") from None
    if ray.is_initialized():
        return ray
    local: dict[str, Any] = {
        "num_cpus": cores(),
        "include_dashboard": False,
        "object_store_memory": 100 * 2**20,
    }
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address, log_to_driver=False, logging_level=logging.ERROR, **(local if address == "local" else {})
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SpecError(f"ray: {address!r}: {(str(error).splitlines() or [''])[0]}") from None
    finally:
        if main:  # ray takes it for itself
            signal.signal(signal.SIGTERM, before)
    return ray


def _task(command: Command, mirror: str | None) -> tuple[int, str]:
    """What a node does for a cell."""
    return mirrored(command, mirror) if mirror else (run(command), "")
