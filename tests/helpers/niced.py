"""A worked example of an executor: a file like this one, named by an entry point of the group `ablate.executors`."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from pydantic import Field

from ablate.core.section import Section
from ablate.execution.command import Command
from ablate.execution.executors import Executor, Request


class Niced(Executor, name="niced"):
    """Cells as processes of low priority on this machine."""

    class Options(Section):
        """What `--executor-option` sets."""

        level: int = Field(10, ge=0, le=19, description="of `nice`: 19 leaves most to other processes")

    def __init__(self, workers: int, threads: int, level: int):
        super().__init__(workers)
        self.threads, self.level = threads, level

    @classmethod
    def start(cls, options: Options, request: Request) -> Niced:
        return cls(request.local_workers, request.threads, options.level)

    def launch(self, folder: Path) -> subprocess.Popen[bytes]:
        return Command.of(folder, "cpu", self.threads).start("nice", "-n", str(self.level))

    def exit_codes(self) -> dict[Path, int]:
        return {folder: p.returncode for folder, p in self.running.items() if p.poll() is not None}

    def stop(self, folder: Path, at_once: bool = False) -> None:
        self.running[folder].send_signal(signal.SIGKILL if at_once else signal.SIGTERM)
