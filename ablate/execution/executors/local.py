"""A pool of devices on this machine: one process per cell, each with its devices and its thread count."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from ablate.core.errors import SpecError
from ablate.core.hardware import PRELOAD

Work = Callable[..., None]  # folder of the cell, device, threads; and how many devices, where it is not one


class Local:
    """At most `workers` cells at a time, spread over `devices`.

    Workers are forked from a server that has imported torch already, so that a cell starts in well under a second
    and still crashes alone.

    Args:
        work: what a worker does with a cell's folder; importable by name.
        devices: `cpu`, or `cuda:0`, `cuda:1`, ...; a worker sees its own only, as `cuda`.
        threads: of the torch of each worker, or of each of its processes.
        per_cell: devices that a cell takes; on the CPU, its processes.
        workers_per_device: at most so many cells share a GPU; unset, as many as `workers` makes.
    Raises:
        SpecError: a cell takes more devices than there are.
    """

    def __init__(
        self,
        work: Work,
        workers: int,
        devices: Sequence[str],
        threads: int,
        per_cell: int = 1,
        workers_per_device: int | None = None,
    ):
        self.work, self.threads, self.per_cell = work, threads, per_cell
        places = _places(devices, per_cell)
        most = workers_per_device if workers_per_device and places != ["cpu"] else workers
        shares = [workers // len(places) + (i < workers % len(places)) for i in range(len(places))]
        self.capacity = {place: min(share, most) for place, share in zip(places, shares, strict=True)}
        self.running: dict[Path, tuple[ForkServerProcess, str]] = {}
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)

    def free(self) -> str | None:
        """A device with room, or several with commas between; None where all are busy."""
        busy = [device for _, device in self.running.values()]
        open_ = [d for d, room in self.capacity.items() if busy.count(d) < room]
        return min(open_, key=busy.count) if open_ else None

    def submit(self, folder: Path) -> None:
        """Start the cell in `folder` on a free device."""
        device = self.free()
        if device is None:
            raise RuntimeError("no device is free")
        several = () if self.per_cell == 1 else (self.per_cell,)
        arguments = (self.work, str(folder), device, self.threads, *several)
        process = self.context.Process(target=_isolated, args=arguments)
        process.start()
        self.running[folder] = process, device

    def ended(self) -> dict[Path, int]:
        """The cells that ended since the last call, with their exit codes (negative: the signal that killed it)."""
        done = {f: p for f, (p, _) in self.running.items() if not p.is_alive()}
        for folder, process in done.items():
            process.join()
            del self.running[folder]
        return {folder: process.exitcode or 0 for folder, process in done.items()}

    def stop(self, folder: Path, at_once: bool = False) -> None:
        """Ask one cell to save and stop, or end it at once."""
        _end(self.running[folder][0], at_once)

    def cancel(self, grace_s: float = 30.0) -> None:
        """Ask every worker to save and stop; end those that do not within `grace_s` seconds."""
        deadline = time.monotonic() + grace_s
        for process, _ in self.running.values():
            _end(process, at_once=grace_s <= 0)
        for process, _ in self.running.values():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                _end(process, at_once=True)


def _end(process: ForkServerProcess, at_once: bool) -> None:
    """SIGTERM to a worker; or SIGKILL, also to the processes that it started."""
    if not at_once:
        process.terminate()
        return
    process.kill()
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it had no session of its own yet
        os.killpg(process.pid or 0, signal.SIGKILL)


def _places(devices: Sequence[str], per_cell: int) -> list[str]:
    """The devices in groups of `per_cell`; what is left over stays idle. The CPU is one place for any number."""
    if list(devices) == ["cpu"]:
        return ["cpu"]
    if len(devices) < per_cell:
        raise SpecError(f"--devices-per-cell {per_cell}: there are {len(devices)} devices")
    starts = range(0, len(devices) - per_cell + 1, per_cell)
    return [",".join(devices[start : start + per_cell]) for start in starts]


def _isolated(work: Work, folder: str, device: str, threads: int, *several: int) -> None:
    """Own session, so that a Ctrl-C at the terminal reaches the parent only, which tells the workers in order."""
    os.setsid()
    if device.startswith("cuda:"):
        shown = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        indices = [int(one.split(":")[1]) for one in device.split(",")]
        mask = [shown[i] if i < len(shown) and shown[i] else str(i) for i in indices]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mask)
        device = "cuda"
    work(folder, device, threads, *several)
