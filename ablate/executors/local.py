"""A pool of devices on this machine: one process per cell, each with its device and its thread count."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

Work = Callable[[str, str, int], None]  # folder of the cell, device, threads


class Local:
    """At most `workers` cells at a time, spread over `devices`.

    Workers are forked from a server that has imported torch already, so that a cell starts in well under a second
    and still crashes alone.

    Args:
        work: what a worker does with a cell's folder; importable by name.
        devices: `cpu`, or `cuda:0`, `cuda:1`, ...; a worker sees its own only, as `cuda`.
        threads: of each worker's torch.
        preload: modules that the forking server imports once.
    """

    def __init__(
        self, work: Work, workers: int, devices: Sequence[str], threads: int, preload: Sequence[str] = ()
    ):
        self.work, self.threads = work, threads
        self.capacity = {
            d: workers // len(devices) + (i < workers % len(devices)) for i, d in enumerate(devices)
        }
        self.running: dict[Path, tuple[ForkServerProcess, str]] = {}
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(list(preload))

    def free(self) -> str | None:
        """A device with room, None where all are busy."""
        busy = [device for _, device in self.running.values()]
        open_ = [d for d, room in self.capacity.items() if busy.count(d) < room]
        return min(open_, key=busy.count) if open_ else None

    def submit(self, folder: Path) -> None:
        """Start the cell in `folder` on a free device."""
        device = self.free()
        if device is None:
            raise RuntimeError("no device is free")
        process = self.context.Process(target=_isolated, args=(self.work, str(folder), device, self.threads))
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


def _isolated(work: Work, folder: str, device: str, threads: int) -> None:
    """Own session, so that a Ctrl-C at the terminal reaches the parent only, which tells the workers in order."""
    os.setsid()
    if device.startswith("cuda:"):
        shown = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        index = int(device.split(":")[1])
        os.environ["CUDA_VISIBLE_DEVICES"] = (
            shown[index] if index < len(shown) and shown[index] else str(index)
        )
        device = "cuda"
    work(folder, device, threads)
