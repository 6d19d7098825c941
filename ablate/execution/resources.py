"""What a run may use, and the scheduler that it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablate.config.profile import Profile
from ablate.core.errors import Problems, SpecError
from ablate.core.hardware import cores, devices
from ablate.core.section import Section, read
from ablate.execution import executors
from ablate.execution.executors import Executor, Request
from ablate.execution.scheduler import Follow, Scheduler
from ablate.runs.store import Store
from ablate.training import distributed


@dataclass(frozen=True)
class Resources:
    """Where cells are computed, and how many at a time.

    Args:
        workers: cells at a time; unset, one per GPU (or group of them), or as many as the cores hold without one; on a
            cluster as many as its executor has room for.
        per_device: cells that share a GPU; multiplies the default of `workers`.
        per_cell: devices that a cell takes, on the CPU its processes: data parallel, where the executor allows it.
        executor: the name of an executor: local, ray, slurm, or one that a plugin adds.
        options: of the executor, by the names of its `Options`.
        retries: how often a cell whose worker died is restarted from its checkpoint.
        stall_min: minutes without a step after which a worker counts as hanging.
        until: of `time.monotonic`, when all cells save and stop; unset, never.
    Raises:
        SpecError: an unknown executor or option.
    """

    workers: int | None = None
    per_device: int = 1
    per_cell: int = 1
    executor: str = "local"
    options: Mapping[str, Any] = field(default_factory=dict)
    retries: int = 1
    stall_min: float | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        kind, problems = executors.named(self.executor), Problems()
        if self.per_cell > 1 and not kind.data_parallel:
            able = " or ".join(sorted(name for name, e in executors.EXECUTORS.items() if e.data_parallel))
            problems.add(f"--devices-per-cell {self.per_cell}: with --executor {able} only")
        with problems:
            _validated(kind, self.options)
        problems.check()

    def at_once(self, profile: Profile) -> tuple[int, int]:
        """Cells at a time on this machine, and threads of each of their processes: no more in all than the cores."""
        present = devices()
        room = (
            cores() // self.per_cell
            if present == ["cpu"]
            else len(present) // self.per_cell * self.per_device
        )
        workers = self.workers or max(1, room)
        return workers, profile.threads or max(1, cores() // (workers * self.per_cell))

    def check(self, profile: Profile) -> None:
        """Refuse at once what no cell of the profile can run on.

        Raises:
            SpecError: the batch cannot be divided among so many devices, or there are fewer, or CUDA_VISIBLE_DEVICES
                names others.
        """
        present = devices()
        if self.per_cell > 1:
            distributed.check_ranks(profile, self.per_cell, None if present == ["cpu"] else len(present))

    def scheduler(self, profile: Profile, store: Store, follow: Follow, cells: int) -> Scheduler:
        """A scheduler for so many cells of a profile, with its executor started."""
        self.check(profile)
        kind, (workers, threads) = executors.named(self.executor), self.at_once(profile)
        request = Request(
            store, profile, cells, self.workers, devices(), workers, threads, self.per_device, self.per_cell
        )
        executor = kind.start(_validated(kind, self.options), request)
        stall_s = self.stall_min and self.stall_min * 60
        return Scheduler(executor, store, follow, self.retries, stall_s, self.until)


def _validated(kind: type[Executor], options: Mapping[str, Any]) -> Section:
    """The options of an executor, with defaults filled in."""
    if options and not kind.Options.model_fields:
        raise SpecError(f"--executor-option {next(iter(options))}: {kind.name} has no options")
    return read(kind.Options, options, "--executor-option", as_json=True)
