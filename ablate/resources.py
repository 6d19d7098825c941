"""What a run may use, and the crew of workers that comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablate.crew import Crew, Follow
from ablate.executors import Executor
from ablate.executors.local import Local
from ablate.machine import cores, devices
from ablate.profile import Profile
from ablate.registry import SpecError, nearest
from ablate.store import Store

EXECUTORS = ("local",)


@dataclass(frozen=True)
class Resources:
    """Where cells are computed, and how many at a time.

    Args:
        workers: cells at a time; unset, one per GPU, or one per core where there is none.
        per_device: cells that share a GPU; multiplies the default of `workers`.
        executor: local.
        options: of the executor.
        retries: of a cell whose worker died.
        stall_min: minutes without a step after which a worker counts as hanging.
    """

    workers: int | None = None
    per_device: int = 1
    executor: str = "local"
    options: Mapping[str, Any] = field(default_factory=dict)
    retries: int = 1
    stall_min: float | None = None

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise SpecError(f"--executor {self.executor}: {nearest(self.executor, EXECUTORS)}")

    def at_once(self, profile: Profile) -> tuple[int, int]:
        """Cells at a time, and threads of each: no more in all than the cores."""
        found = devices()
        workers = self.workers or (cores() if found == ["cpu"] else len(found) * self.per_device)
        return workers, profile.threads or max(1, cores() // workers)

    def crew(self, profile: Profile, store: Store, follow: Follow, cells: int) -> Crew:
        """Workers for so many cells of a profile."""
        stall = self.stall_min and self.stall_min * 60
        return Crew(self._executor(profile, cells), store, follow, self.retries, stall)

    def _executor(self, profile: Profile, cells: int) -> Executor:
        workers, threads = self.at_once(profile)
        return Local(_work, min(workers, cells), devices(), threads, preload=("ablate.cell",))


def _work(folder: str, device: str, threads: int) -> None:
    """What a worker runs; its heavy imports are in the server that forks it, not in the parent."""
    from ablate.cell import work

    work(folder, device, threads)
