"""A pool of devices on this machine: one process per cell, each with its devices and its thread count."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from ablate.core.errors import SpecError
from ablate.core.hardware import forkserver, visible
from ablate.core.section import Section
from ablate.execution.executors import Executor, Request


class Local(Executor, name="local"):
    """At most `workers` cells at a time, spread over `devices`.

    Workers are forked from a server that has imported torch already, so that a cell starts in well under a second
    and still crashes alone.

    Args:
        devices: `cpu`, or `cuda:0`, `cuda:1`, ...; a worker sees only its own, as `cuda`.
        threads: of the torch of each worker, or of each of its processes.
        per_cell: devices that a cell takes; on the CPU, its processes.
        workers_per_device: at most so many cells share a GPU; unset, as many as `workers` makes.
    Raises:
        SpecError: a cell takes more devices than there are.
    """

    data_parallel = True

    def __init__(
        self,
        workers: int,
        devices: Sequence[str],
        threads: int,
        per_cell: int = 1,
        workers_per_device: int | None = None,
    ):
        self.threads, self.per_cell = threads, per_cell
        places = _places(devices, per_cell)
        most = workers_per_device if workers_per_device and places != ["cpu"] else workers
        shares = [workers // len(places) + (i < workers % len(places)) for i in range(len(places))]
        self.capacity = {place: min(share, most) for place, share in zip(places, shares, strict=True)}
        super().__init__(sum(self.capacity.values()))
        self.running: dict[Path, tuple[ForkServerProcess, str]] = {}
        self.context = forkserver()

    @classmethod
    def start(cls, options: Section, request: Request) -> Local:
        """The pool of all devices of this machine."""
        workers = min(request.local_workers, request.cells)
        most = request.per_device if request.workers is None else None
        return cls(workers, request.devices, request.threads, request.per_cell, most)

    def launch(self, folder: Path) -> tuple[ForkServerProcess, str]:
        """Start a process on the device with the fewest cells among those with room."""
        busy = [device for _, device in self.running.values()]
        device = min((d for d, room in self.capacity.items() if busy.count(d) < room), key=busy.count)
        process = self.context.Process(
            target=_isolated, args=(str(folder), device, self.threads, self.per_cell)
        )
        process.start()
        return process, device

    def exit_codes(self) -> dict[Path, int]:
        """Negative: the signal that ended the process."""
        ended = {folder: process for folder, (process, _) in self.running.items() if not process.is_alive()}
        for process in ended.values():
            process.join()
        return {folder: process.exitcode or 0 for folder, process in ended.items()}

    def stop(self, folder: Path, at_once: bool = False) -> None:
        """SIGTERM to the worker; at once, SIGKILL to it and to the processes that it started."""
        process, _ = self.running[folder]
        if not at_once:
            process.terminate()
            return
        process.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it had no session of its own yet
            os.killpg(process.pid or 0, signal.SIGKILL)


def _places(devices: Sequence[str], per_cell: int) -> list[str]:
    """The devices in groups of `per_cell`; left-over ones stay idle. The CPU is one place for any number."""
    if list(devices) == ["cpu"]:
        return ["cpu"]
    if len(devices) < per_cell:
        raise SpecError(f"--devices-per-cell {per_cell}: there are {len(devices)} devices")
    starts = range(0, len(devices) - per_cell + 1, per_cell)
    return [",".join(devices[start : start + per_cell]) for start in starts]


def _isolated(folder: str, device: str, threads: int, ranks: int) -> None:
    """What a worker process does.

    It has a session of its own, so that a Ctrl-C at the terminal reaches the parent only, which then asks each worker
    to stop. The server that forks it has made the heavy imports; the parent never makes them.
    """
    os.setsid()
    if device.startswith("cuda:"):
        shown = visible()
        indices = [int(one.split(":")[1]) for one in device.split(",")]
        mask = [shown[i] if shown else str(i) for i in indices]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mask)
        device = "cuda"
    from ablate.runs.worker import work

    work(folder, device, threads, ranks)
