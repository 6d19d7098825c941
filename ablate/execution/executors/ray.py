"""Cells as tasks of a ray cluster: each runs the cell's command on whichever node has room."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from ablate.core.errors import SpecError, missing_extra
from ablate.core.hardware import cores
from ablate.core.section import Section
from ablate.execution.command import Command, run
from ablate.execution.executors import Executor, Request
from ablate.runs.record import INTERRUPTED


class Ray(Executor, name="ray"):
    """Cells on a running cluster, or on one that starts here and ends with the process.

    The runs directory is on a disk that all nodes share, and `ablate` is installed on each node. ray repeats nothing by
    itself. A cell that you stop gets SIGTERM and saves. One that you end at once, or whose node or ray worker dies,
    resumes from its last checkpoint when it is submitted again.

    Args:
        workers: cells at a time; None: as many as the nodes have room for now. A cluster that grows with its queue
            needs a number.
    Raises:
        SpecError: no ray, no cluster that answers, no node that can ever hold a cell.
    """

    class Options(Section):
        """What a cell takes, and where the cluster is."""

        cpus: int | None = Field(
            None,
            ge=1,
            description="of each cell, and the threads of its torch; the profile's threads, else 1",
        )
        gpus: float = Field(0.0, ge=0, description="of each cell; a fraction shares a GPU")
        address: str | None = Field(
            None,
            description="of a running cluster; RAY_ADDRESS, else a cluster on this machine's loopback address",
        )

        @field_validator("gpus")
        @classmethod
        def _whole_or_shared(cls, gpus: float) -> float:
            if gpus > 1 and gpus != int(gpus):
                raise ValueError(f"needs whole GPUs or a fraction of one, not {gpus:g}")
            return gpus

    def __init__(self, options: Options, workers: int | None = None):
        self.ray = _connected(options.address)
        self.cpus, self.gpus = options.cpus or 1, options.gpus
        room = self._room()
        super().__init__(room if workers is None else workers)
        self.task = self.ray.remote(max_retries=0, num_cpus=self.cpus, num_gpus=self.gpus)(run)
        self.killed: set[Path] = set()

    @classmethod
    def start(cls, options: Options, request: Request) -> Ray:
        """Connected to the cluster."""
        cpus = options.cpus or request.profile.threads
        return cls(options.model_copy(update={"cpus": cpus}), request.workers)

    def launch(self, folder: Path) -> Any:
        """Queue the cell; ray's reference to its task."""
        return self.task.remote(Command.of(folder, "cuda" if self.gpus else "cpu", self.cpus))

    def exit_codes(self) -> dict[Path, int]:
        """-9 where a ray worker or a node died."""
        if not self.running:
            return {}
        tasks = list(self.running.values())
        done = set(self.ray.wait(tasks, num_returns=len(tasks), timeout=0)[0])
        return {folder: self._code(folder) for folder, task in self.running.items() if task in done}

    def stop(self, folder: Path, at_once: bool = False) -> None:
        """Cancel the task; `at_once` ends Ray's worker too."""
        if folder in self.killed:
            return
        if at_once:
            self.killed.add(folder)
        self.ray.cancel(self.running[folder], force=at_once)

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

    def _code(self, folder: Path) -> int:
        """The exit code of a task that is done; the cell's log gets what the worker could not write there."""
        errors = self.ray.exceptions
        try:
            return int(self.ray.get(self.running[folder]))
        except errors.TaskCancelledError:
            return -signal.SIGKILL if folder in self.killed else INTERRUPTED
        except errors.RayTaskError as error:
            self.log(folder, str(error))
            return 1
        except errors.RayError as error:
            self.log(folder, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
            return -signal.SIGKILL
        finally:
            self.killed.discard(folder)


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
        raise missing_extra("ray", "ray") from None
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
        if main:  # ray replaces the handler
            signal.signal(signal.SIGTERM, before)
    return ray
