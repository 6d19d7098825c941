"""Cells as jobs of a Slurm cluster, through submitit: each runs the cell's command."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from ablate.core.errors import SpecError, nearest
from ablate.core.hardware import devices
from ablate.execution.executors.command import Command, run
from ablate.runs.record import INTERRUPTED
from ablate.runs.store import Folder

LOOK_S, ASK_S = 1.0, 30.0  # between two looks for results; between two questions to the controller
SETTLE_S = 15.0  # what a shared disk may need to show the result of a job that is gone
SOON_S = 2.0  # instead of both for jobs that were asked to stop


class Slurm:
    """At most `workers` jobs at a time, one per cell; the runs directory and this Python are on a shared disk.

    A job that is stopped gets SIGTERM (`scancel --signal=TERM`; a waiting one is removed), as does one whose time limit
    is less than 90 seconds away, or that is preempted: the cell saves and its code is 130. A job that Slurm puts back
    into its queue, after a node failed, goes on from the last checkpoint. The controller is asked twice a minute which
    jobs there are, so that much later a job is told of that vanished without a result (-9).

    Args:
        logs: a folder on the shared disk for what submitit writes.
        time: a job's limit in minutes.
        gpus, cpus: of each cell; as many threads as cpus.
        extra: further options of sbatch by their long names: `{"account": "x", "mem": "8G", "exclusive": True}`.
        setup: shell lines that a job begins with, such as `module load cuda`.
        cluster: `slurm`; or `local`: as processes of this machine.
    Raises:
        SpecError: no submitit, no Slurm here, no such partition, none that has GPUs, a job that sbatch refuses.
    """

    def __init__(
        self,
        logs: Path,
        partition: str | None = None,
        time: int = 60,
        gpus: int = 0,
        cpus: int = 1,
        workers: int = 64,
        extra: Mapping[str, Any] | None = None,
        setup: Sequence[str] = (),
        cluster: str = "slurm",
    ):
        _possible(cluster, partition, gpus)
        self.cpus, self.gpus, self.workers, self.cluster = cpus, gpus, workers, cluster
        self.executor = _submitit().AutoExecutor(logs, cluster=cluster)
        self.executor.update_parameters(timeout_min=time, gpus_per_node=gpus, cpus_per_task=cpus)
        self.executor.update_parameters(
            slurm_partition=partition,
            slurm_setup=list(setup) or None,
            slurm_srun_args=[f"--cpus-per-task={cpus}"],  # srun does not take it over from sbatch
            slurm_additional_parameters=dict(extra or {}),
        )
        self.running: dict[Path, Any] = {}
        self.asked: dict[Path, int] = {}  # to stop: the code of a job without a result
        self.gone: dict[Path, float] = {}  # since when it is known that a job is gone
        self.codes: dict[Path, int] = {}
        self.looked = self.listed = float("-inf")

    def free(self) -> bool | None:
        """True where a further cell may be submitted."""
        return len(self.running) < self.workers or None

    def submit(self, folder: Path) -> None:
        """Queue the cell in `folder`."""
        command = Command.of(folder, "cuda" if self.gpus else "cpu", self.cpus)
        self.executor.update_parameters(name=f"ablate-{folder.name}")
        try:
            self.running[folder] = self.executor.submit(run, command)
        except Exception as error:  # submitit's errors of sbatch have no base of their own
            said = [line[8:] for line in str(error).splitlines() if line.startswith("sbatch: ")]
            raise SpecError(f"slurm: sbatch refuses the job: {'; '.join(said) or error}") from None
        self.looked = float("-inf")

    def ended(self) -> dict[Path, int]:
        """The cells that ended since the last call, with their exit codes; -9 where a job ended without a word."""
        self._collect()
        codes, self.codes = self.codes, {}
        return codes

    def stop(self, folder: Path, at_once: bool = False) -> None:
        """Ask one cell to save and stop, or end it at once."""
        code = -signal.SIGKILL if at_once else INTERRUPTED
        if folder not in self.running or self.asked.get(folder) == code:
            return
        self.asked[folder], self.listed = code, float("-inf")
        job = self.running[folder].job_id
        if self.cluster == "local":
            _signal(int(job), at_once)
        elif at_once:
            # scancel's own KILL is a TERM and some patience; USR1 ends `run`, and so the command
            _slurm("scancel", "--signal=USR1", job)
            _slurm("scancel", job)
        else:
            _slurm("scancel", "--state=PENDING", job)
            _slurm("scancel", "--signal=TERM", job)

    def cancel(self, grace_s: float = 30.0) -> None:
        """Ask all to save and stop; end those that do not within `grace_s` seconds. What has not begun never does."""
        deadline = time.monotonic() + grace_s
        for folder in self.running:
            self.stop(folder, at_once=grace_s <= 0)
        while self.running and time.monotonic() < deadline:
            time.sleep(0.2)
            self._collect()
        for folder in self.running:
            self.stop(folder, at_once=True)

    def _collect(self) -> None:
        """Note the codes of the jobs that left a result, or are gone without one."""
        now = time.monotonic()
        if now - self.looked < LOOK_S or not self.running:
            return
        self.looked = now
        self._list(now)
        for folder, job in list(self.running.items()):
            settle = 0 if self.cluster == "local" else SOON_S if folder in self.asked else SETTLE_S
            if job.paths.result_pickle.exists():
                self._end(folder, *_result(job))
            elif now - self.gone.get(folder, float("inf")) >= settle:
                code = self.asked.get(folder, -signal.SIGKILL)
                self._end(
                    folder, code, f"job {job.job_id} ended without a result; its log is {job.paths.stderr}"
                )

    def _list(self, now: float) -> None:
        """Find out which jobs are gone."""
        if self.cluster == "local":
            gone = [folder for folder, job in self.running.items() if job.done()]
        elif now - self.listed < (SOON_S if self.asked else ASK_S):
            return
        else:
            self.listed = now
            listed = _slurm("squeue", "--noheader", "--format=%A", f"--user={os.getuid()}")
            if listed is None:  # it does not answer: nothing is known
                return
            gone = [folder for folder, job in self.running.items() if job.job_id not in listed.split()]
        self.gone = {folder: self.gone.get(folder, now) for folder in gone}

    def _end(self, folder: Path, code: int, reason: str = "") -> None:
        self.codes[folder] = code
        for noted in (self.running, self.asked, self.gone):
            noted.pop(folder, None)
        if reason and code != INTERRUPTED:
            with Folder(folder).log.open("a") as log:
                log.write(f"slurm: {reason}\n")


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise SpecError("slurm needs the extra slurm: pip install ablate[slurm]") from None
    return submitit


def _result(job: Any) -> tuple[int, str]:
    """A job's exit code; or 1 and why its function raised."""
    error = job.exception()
    return (1, str(error)) if error else (int(job.result()), "")


def _possible(cluster: str, partition: str | None, gpus: int) -> None:
    """Refuse at once what would only wait."""
    _submitit()
    if cluster not in ("slurm", "local"):
        raise SpecError(f"slurm: cluster: {cluster!r}; {nearest(cluster, ['slurm', 'local'])}")
    if cluster == "local":
        if gpus and devices() == ["cpu"]:
            raise SpecError(f"slurm: gpus: {gpus}: this machine has none")
        return
    if missing := [p for p in ("sbatch", "srun", "squeue", "scancel", "sinfo") if not shutil.which(p)]:
        raise SpecError(f"slurm: there is no {missing[0]} on this machine: is it a cluster's login node?")
    listed = _slurm("sinfo", "--noheader", "--format=%R %G")
    if listed is None:
        raise SpecError("slurm: its controller does not answer")
    found = [line.split(maxsplit=1) for line in listed.splitlines()]
    if partition and partition not in [name for name, _ in found]:
        raise SpecError(f"slurm: partition: {partition!r}; {nearest(partition, {name for name, _ in found})}")
    if gpus and not any("gpu" in has for name, has in found if name == (partition or name)):
        raise SpecError(f"slurm: gpus: {gpus}: {partition or 'the cluster'} has none")


def _slurm(*command: str) -> str | None:
    """What a command of Slurm prints, None where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def _signal(controller: int, at_once: bool) -> None:
    """To submitit's process on this machine, which passes SIGTERM on; SIGKILL to all that it started too."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(controller)
        for one in [process, *process.children(recursive=True)] if at_once else [process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)
