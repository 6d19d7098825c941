"""What a run may use, and the crew of workers that comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from ablate.config.profile import Profile
from ablate.core.errors import SpecError, nearest
from ablate.core.hardware import cores, devices
from ablate.core.section import Section, explain
from ablate.execution.executors import Executor
from ablate.execution.scheduler import Crew, Follow
from ablate.runs.store import Store
from ablate.training import distributed


class RayOptions(Section):
    """`--executor-option` of ray: see `executors.ray.Ray`."""

    cpus: int | None = None
    gpus: float = 0.0
    address: str | None = None
    mirror: str | None = None


class SlurmOptions(Section):
    """`--executor-option` of slurm: see `executors.slurm.Slurm`."""

    partition: str | None = None
    time: int = 60
    gpus: int = 0
    cpus: int | None = None
    extra: dict[str, Any] = {}
    setup: list[str] = []
    cluster: str = "slurm"


class LocalOptions(Section):
    """The pool of this machine's devices has none: its means have options of their own."""


EXECUTORS: dict[str, type[Section]] = {"local": LocalOptions, "ray": RayOptions, "slurm": SlurmOptions}


@dataclass(frozen=True)
class Resources:
    """Where cells are computed, and how many at a time.

    Args:
        workers: cells at a time; unset, one per GPU (or group of them), or as many as the cores hold without one; on a
            cluster as many as its executor finds room for.
        per_device: cells that share a GPU; multiplies the default of `workers`.
        per_cell: devices that a cell takes, on the CPU its processes: data parallel. Of `local` only.
        executor: local, ray or slurm.
        options: of the executor.
        retries: of a cell whose worker died.
        stall_min: minutes without a step after which a worker counts as hanging.
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

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise SpecError(f"--executor {self.executor}: {nearest(self.executor, EXECUTORS)}")
        if self.per_cell > 1 and self.executor != "local":
            raise SpecError(f"--devices-per-cell {self.per_cell}: with --executor local only")
        self._checked()

    def _checked(self) -> dict[str, Any]:
        """The executor's options, defaults filled in."""
        known = EXECUTORS[self.executor]
        if self.options and not known.model_fields:
            raise SpecError(f"--executor-option {next(iter(self.options))}: {self.executor} has no options")
        try:
            return known.model_validate(dict(self.options), strict=False).model_dump()
        except ValidationError as error:
            raise explain(error, "--executor-option", known) from None

    def at_once(self, profile: Profile) -> tuple[int, int]:
        """Cells at a time, and threads of each of their processes: no more in all than the cores."""
        found = devices()
        room = cores() // self.per_cell if found == ["cpu"] else len(found) // self.per_cell * self.per_device
        workers = self.workers or max(1, room)
        return workers, profile.threads or max(1, cores() // (workers * self.per_cell))

    def check(self, profile: Profile) -> None:
        """Refuse at once what no cell of the profile can run on.

        Raises:
            SpecError: the batch can not be divided among so many devices, or there are fewer.
        """
        if self.per_cell > 1:
            found = devices()
            distributed.divided(profile, self.per_cell, None if found == ["cpu"] else len(found))

    def crew(self, profile: Profile, store: Store, follow: Follow, cells: int) -> Crew:
        """Workers for so many cells of a profile."""
        stall = self.stall_min and self.stall_min * 60
        return Crew(self._executor(profile, store, cells), store, follow, self.retries, stall)

    def _executor(self, profile: Profile, store: Store, cells: int) -> Executor:
        self.check(profile)
        options = self._checked()
        if self.executor == "local":
            return self._local(profile, cells)
        options["cpus"] = options["cpus"] or profile.threads or 1
        if self.executor == "ray":
            from ablate.execution.executors.ray import Ray

            return Ray(workers=self.workers, **options)
        from ablate.execution.executors.slurm import Slurm

        options |= {"workers": self.workers} if self.workers else {}
        return Slurm(store.path / "slurm", **options)

    def _local(self, profile: Profile, cells: int) -> Executor:
        from ablate.execution.executors.local import Local

        workers, threads = self.at_once(profile)
        return Local(
            _work,
            min(workers, cells),
            devices(),
            threads,
            per_cell=self.per_cell,
            workers_per_device=self.per_device if self.workers is None else None,
        )


def _work(folder: str, device: str, threads: int, ranks: int = 1) -> None:
    """What a worker runs; its heavy imports are in the server that forks it, not in the parent."""
    from ablate.runs.worker import work

    work(folder, device, threads, ranks)
