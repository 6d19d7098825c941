"""Where cells are computed: one module per executor, each with the options that `--executor-option` sets."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ablate.config.profile import Profile
from ablate.core import plugins
from ablate.core.errors import SpecError, nearest
from ablate.core.section import Section
from ablate.execution.command import POLL_S
from ablate.runs.store import Folder, Store

EXECUTORS: dict[str, type[Executor]] = {}


@dataclass(frozen=True)
class Request:
    """What an executor is started for, and what this machine has.

    store: the runs directory that holds the cells' folders.
    profile: data and budget of all cells.
    cells: how many there are at most.
    workers: how many cells at a time the user asked for; None: as many as there is room for.
    devices: of this machine: `cpu`, or `cuda:0`, `cuda:1`, ...
    local_workers: how many cells this machine computes at a time; equals `workers` where that is set.
    threads: of each process then, so that all of them together use no more than the cores.
    per_device: cells that share a GPU.
    per_cell: devices that a cell takes; on the CPU, its processes. 1 unless the executor is `data_parallel`.
    """

    store: Store
    profile: Profile
    cells: int
    workers: int | None
    devices: Sequence[str]
    local_workers: int
    threads: int
    per_device: int = 1
    per_cell: int = 1


class Executor(ABC):
    """A place that computes several cells at a time.

    A worker runs `ablate.runs.worker` on the folder of a cell. It exits with 0 once it has written a record. Without a
    record it exits with 75 (another process computes the cell), 130 (it was asked to stop, and saved), 74 (the folder
    cannot be written), minus the number of the signal that ended it, or anything else (it crashed).

    A subclass is registered under its name: `class Mine(Executor, name="mine")`. It implements `start`, `launch`,
    `exit_codes` and `stop`. Modules of this folder and entry points of the group `ablate.executors` are found by
    themselves. Import what is heavy or optional inside functions, since every command loads all modules.

    Args:
        workers: cells at a time.
    """

    name: ClassVar[str]
    data_parallel: ClassVar[bool] = False  # whether a cell may take several devices

    class Options(Section):
        """The fields that `--executor-option` sets; none unless a subclass has a class of its own."""

    def __init__(self, workers: int):
        self.workers = workers
        self.running: dict[Path, Any] = {}  # folder of a cell -> what `launch` returned
        self.codes: dict[Path, int] = {}  # exit codes that `ended` has not returned yet

    def __init_subclass__(cls, name: str) -> None:
        known = EXECUTORS.get(name)
        if known and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"executor {name} is registered already, by {known.__module__}")
        cls.name = name
        EXECUTORS[name] = cls

    @classmethod
    @abstractmethod
    def start(cls, options: Any, request: Request) -> Executor:
        """An executor that is ready for cells.

        Args:
            options: an instance of the class's `Options`.
        Raises:
            SpecError: it can never compute what is asked for.
        """

    @abstractmethod
    def launch(self, folder: Path) -> Any:
        """Start the cell in `folder` and return a handle, which `running` keeps until the cell ends."""

    @abstractmethod
    def exit_codes(self) -> dict[Path, int]:
        """The exit codes of those cells in `running` that have ended. Returns at once."""

    @abstractmethod
    def stop(self, folder: Path, at_once: bool = False) -> None:
        """Ask a cell in `running` to save and stop (SIGTERM), or end it at once. Does not wait for it."""

    def has_room(self) -> bool:
        """Whether you may submit a further cell."""
        return len(self.running) < self.workers

    def submit(self, folder: Path) -> None:
        """Start the cell in `folder`."""
        self.running[folder] = self.launch(folder)

    def ended(self) -> dict[Path, int]:
        """The exit codes of the cells that ended since the last call."""
        self._collect()
        codes, self.codes = self.codes, {}
        return codes

    def cancel(self, grace_s: float = 30.0) -> None:
        """Ask all cells to save and stop; end those that do not within `grace_s` seconds. Waiting ones never start."""
        if grace_s > 0:
            self._stop_all(at_once=False)
            self._wait(grace_s)
        self._stop_all(at_once=True)
        self._wait(1.0)

    def log(self, folder: Path, reason: str) -> None:
        """Add a line to the log of a cell: what its worker could not write itself."""
        with Folder(folder).log.open("a", encoding="utf-8") as file:
            file.write(f"{self.name}: {reason}\n")

    def _stop_all(self, at_once: bool) -> None:
        for folder in self.running:
            self.stop(folder, at_once)

    def _collect(self) -> None:
        for folder, code in self.exit_codes().items():
            del self.running[folder]
            self.codes[folder] = code

    def _wait(self, seconds: float) -> None:
        """Wait until no cell runs, for at most `seconds`."""
        deadline = time.monotonic() + seconds
        while self.running and time.monotonic() < deadline:
            time.sleep(POLL_S)
            self._collect()


def named(name: str) -> type[Executor]:
    """The executor called `name`.

    Raises:
        SpecError: there is none.
    """
    plugins.load(__name__, group="ablate.executors")
    if name not in EXECUTORS:
        raise SpecError(f"--executor {name}: no such executor; {nearest(name, EXECUTORS)}")
    return EXECUTORS[name]
