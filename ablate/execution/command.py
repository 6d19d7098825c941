"""`python -m ablate.runs.worker FOLDER DEVICE THREADS` as a process of its own: what a cluster's node runs."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.runs.record import INTERRUPTED

POLL_S = 0.1
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
# of a scheduler; of ray's cancel; of submitit, some time before a time limit
ASKS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


@dataclass(frozen=True)
class Command:
    """Plain data, so that any scheduler can carry it to its node.

    threads: of torch; the other libraries get as many, unless the submitting process was told otherwise.
    cwd: the submitting process's, used where the node has it too.
    environment: what the node's own is changed by.
    """

    folder: str
    device: str
    threads: int
    cwd: str = field(default_factory=os.getcwd)
    environment: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(folder: Path, device: str, threads: int) -> Command:
        """The command of a cell, to run as it would on this machine.

        Schedulers set thread counts of their own, and plugins lie where the experiment file does.
        """
        changed = {name: os.environ.get(name, str(threads)) for name in THREADS}
        own = (sys.prefix, sys.base_prefix)
        changed["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p and not p.startswith(own))
        return Command(str(folder), device, threads, environment=changed)

    @property
    def arguments(self) -> list[str]:
        """What is executed, by the node's own Python."""
        return [sys.executable, "-m", "ablate.runs.worker", self.folder, self.device, str(self.threads)]


def run(command: Command, between: Callable[[], None] = lambda: None) -> int:
    """Run a cell's command to its end; its exit code (negative: the signal that ended it).

    A request to stop goes on to the command as SIGTERM, whichever signal brought it; then its checkpoint is waited for.
    The kernel ends the command when this process dies, so that a crash leaves no cell behind that nobody waits for.

    Args:
        between: called several times a second while the command runs.
    """
    with _Asked() as asked:
        if asked.early:
            return INTERRUPTED
        process = subprocess.Popen(
            command.arguments,
            cwd=command.cwd if os.path.isdir(command.cwd) else None,
            env={**os.environ, **command.environment},
            start_new_session=True,  # what is sent to a process group reaches the command through us, and once
            preexec_fn=_begin,
        )
        asked.pass_on_to(process)
        while process.poll() is None:
            between()
            time.sleep(POLL_S)
        return process.returncode


class _Asked:
    """Passes every request to stop that arrives in the block on to a process."""

    def __init__(self) -> None:
        self.early = False
        self.process: subprocess.Popen[bytes] | None = None
        self.before: dict[int, Any] = {}

    def __enter__(self) -> _Asked:
        self.before = {number: signal.signal(number, self._ask) for number in ASKS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _ask(self, number: int, frame: object) -> None:
        self.early = self.process is None
        if self.process:
            self.process.terminate()

    def pass_on_to(self, process: subprocess.Popen[bytes]) -> None:
        """From now on; a request that came while it was being started is passed on at once."""
        self.process = process
        if self.early:
            process.terminate()


def _begin() -> None:
    """In the new process: end with the parent, and leave to it what Slurm sends to all processes of a job."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if LIBC:
        LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
