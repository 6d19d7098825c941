"""`python -m ablate.runs.worker FOLDER DEVICE THREADS` as a process of its own: what the node of a cluster runs."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.core import search_path
from ablate.runs.record import INTERRUPTED

POLL_S = 0.1  # between two looks at what runs
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
# by a scheduler; by ray's cancel; by submitit, some time before a time limit
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


@dataclass(frozen=True)
class Command:
    """The command of a cell as plain data, which any cluster can send to a node.

    threads: of torch. The other libraries get as many, unless the environment of the submitting process sets a number.
    cwd: of the submitting process; used where the node has it too.
    environment: variables to change on the node.
    """

    folder: str
    device: str
    threads: int
    cwd: str = field(default_factory=os.getcwd)
    environment: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(folder: Path, device: str, threads: int) -> Command:
        """The command that computes a cell on a node as it would be computed on this machine.

        Clusters set thread counts of their own, and plugins lie beside the experiment file.
        """
        changed = {name: os.environ.get(name, str(threads)) for name in THREADS}
        changed |= search_path.environment()
        return Command(str(folder), device, threads, environment=changed)

    @property
    def arguments(self) -> list[str]:
        """The words of the command line, for the node's own Python."""
        return [sys.executable, "-m", "ablate.runs.worker", self.folder, self.device, str(self.threads)]

    def start(self, *prefix: str) -> subprocess.Popen[bytes]:
        """Start it on this machine, behind words such as `nice`.

        The kernel ends the process when this one dies, so that a crash leaves no cell behind that nobody waits for.
        """
        return subprocess.Popen(
            [*prefix, *self.arguments],
            cwd=self.cwd if os.path.isdir(self.cwd) else None,
            env={**os.environ, **self.environment},
            start_new_session=True,  # a signal to the process group reaches it through us only, and once
            preexec_fn=_bind_to_parent,
        )


def run(command: Command) -> int:
    """Run the command of a cell to its end; its exit code (negative: the signal that ended it).

    A request to stop reaches the command as SIGTERM, whichever signal brought it; then this waits for its checkpoint.
    """
    with _StopRequests() as requests:
        if requests.early:
            return INTERRUPTED
        process = command.start()
        requests.pass_on_to(process)
        while process.poll() is None:
            time.sleep(POLL_S)
        return process.returncode


class _StopRequests:
    """Passes every request to stop that arrives in the block on to a process."""

    def __init__(self) -> None:
        self.early = False
        self.process: subprocess.Popen[bytes] | None = None
        self.before: dict[int, Any] = {}

    def __enter__(self) -> _StopRequests:
        self.before = {number: signal.signal(number, self._request) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _request(self, number: int, frame: object) -> None:
        self.early = self.process is None
        if self.process:
            self.process.terminate()

    def pass_on_to(self, process: subprocess.Popen[bytes]) -> None:
        """From now on; a request that came while it was being started is passed on at once."""
        self.process = process
        if self.early:
            process.terminate()


def _bind_to_parent() -> None:
    """In the new process: end with the parent, and leave to it what Slurm sends to all processes of a job."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if LIBC:
        LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
