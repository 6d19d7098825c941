"""Where cells are computed: each executor takes a cell's folder and gives back how its worker ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Executor(Protocol):
    """A place with room for some cells at a time.

    A worker runs `ablate.runs.worker` on a folder. It exits with 0 once a record is written. Without a record it exits
    with 75 (another process holds the cell), 130 (it was asked to stop, and saved), 74 (the folder cannot be written),
    minus the number of the signal that ended it, or anything else (it crashed).
    """

    @property
    def running(self) -> Mapping[Path, Any]:
        """The folders that were submitted and have not ended."""

    def free(self) -> Any:
        """Something true where there is room for a further cell."""

    def submit(self, folder: Path) -> None:
        """Start the cell in `folder`."""

    def ended(self) -> dict[Path, int]:
        """The cells that ended since the last call, with their exit codes."""

    def stop(self, folder: Path, at_once: bool = False) -> None:
        """Ask one cell to save and stop, or end it at once; `ended` tells when it has."""

    def cancel(self, grace_s: float = 30.0) -> None:
        """Ask all to save and stop; end those that do not within `grace_s` seconds."""
