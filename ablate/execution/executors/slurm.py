"""Cells as jobs of a Slurm cluster, through submitit: each runs the cell's command."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Annotated, Any

import psutil
from pydantic import BeforeValidator, Field, field_validator

from ablate.core.errors import SpecError, missing_extra, nearest
from ablate.core.hardware import devices
from ablate.core.section import Section
from ablate.execution.command import Command, run
from ablate.execution.executors import Executor, Request
from ablate.runs.record import INTERRUPTED

RESULTS_S, CONTROLLER_S = 1.0, 30.0  # between two checks for results; between two questions to the controller
SETTLE_S = 15.0  # what a shared disk may need to show the result of a job that is gone
SOON_S = 2.0  # instead of the latter two for jobs that were asked to stop


def _minutes(value: object) -> object:
    if isinstance(value, str):  # sbatch itself reads 1:30 as minutes and seconds
        raise ValueError(f"{value!r}: needs a number of minutes, such as 90")
    return value


class Slurm(Executor, name="slurm"):
    """Cells as jobs, one each; the runs directory and this Python are on a shared disk.

    A job that you stop gets SIGTERM (`scancel --signal=TERM`; a waiting one is removed). So does one whose time limit
    is less than 90 seconds away, or that is preempted: the cell saves and its code is 130. A job that Slurm puts back
    into its queue, after a node failed, resumes from the last checkpoint. The controller is asked twice a minute which
    jobs there are, so it may take half a minute until a job that vanished without a result counts as ended (-9).

    Args:
        logs: a folder on the shared disk for the files of submitit.
        workers: jobs at a time, waiting ones included.
    Raises:
        SpecError: no submitit, no Slurm here, no such partition, none that has GPUs, a job that sbatch refuses.
    """

    class Options(Section):
        """What a job asks for."""

        partition: str | None = Field(None, description="the queue; Slurm's default one unless given")
        time: Annotated[int, BeforeValidator(_minutes)] = Field(
            60, ge=1, description="a job's limit in minutes"
        )
        gpus: int = Field(0, ge=0, description="of each cell")
        cpus: int | None = Field(
            None,
            ge=1,
            description="of each cell, and the threads of its torch; the profile's threads, else 1",
        )
        extra: dict[str, bool | str] = Field(
            {},
            description="further options of sbatch by their long names: {account: x, mem: 8G, exclusive: true}",
        )
        setup: list[str] = Field([], description="shell lines before the cell: [module load cuda]")
        cluster: str = Field(
            "slurm", description="slurm; or local: as processes of this machine, to try it out"
        )

        @field_validator("cluster")
        @classmethod
        def _known(cls, cluster: str) -> str:
            if cluster not in ("slurm", "local"):
                raise ValueError(f"{cluster!r}; {nearest(cluster, ['slurm', 'local'])}")
            return cluster

    def __init__(self, options: Options, logs: Path, workers: int = 64):
        super().__init__(workers)
        self.cpus, self.gpus, self.cluster = options.cpus or 1, options.gpus, options.cluster
        submitit = _submitit()
        _check(options)
        self.executor = submitit.AutoExecutor(logs, cluster=self.cluster)
        self.executor.update_parameters(
            timeout_min=options.time, gpus_per_node=self.gpus, cpus_per_task=self.cpus
        )
        self.executor.update_parameters(
            slurm_partition=options.partition,
            slurm_setup=options.setup or None,
            slurm_srun_args=[f"--cpus-per-task={self.cpus}"],  # srun does not take it over from sbatch
            slurm_additional_parameters=options.extra,
        )
        self.asked: dict[Path, int] = {}  # to stop: the code of a job without a result
        self.gone: dict[Path, float] = {}  # since when it is known that a job is gone
        self.checked = self.listed = float("-inf")

    @classmethod
    def start(cls, options: Options, request: Request) -> Slurm:
        """Ready for jobs, with the files of submitit in the runs directory."""
        cpus = options.cpus or request.profile.threads
        return cls(
            options.model_copy(update={"cpus": cpus}), request.store.path / "slurm", request.workers or 64
        )

    def launch(self, folder: Path) -> Any:
        """Queue the cell; submitit's job."""
        command = Command.of(folder, "cuda" if self.gpus else "cpu", self.cpus)
        self.executor.update_parameters(name=f"ablate-{folder.name}")
        self.checked = float("-inf")
        try:
            return self.executor.submit(run, command)
        except Exception as error:  # submitit's errors of sbatch have no base of their own
            lines = [line[8:] for line in str(error).splitlines() if line.startswith("sbatch: ")]
            raise SpecError(f"slurm: sbatch refuses the job: {'; '.join(lines) or error}") from None

    def exit_codes(self) -> dict[Path, int]:
        """-9 where a job ended without a result."""
        now = time.monotonic()
        if now - self.checked < RESULTS_S or not self.running:
            return {}
        self.checked = now
        self._list(now)
        found = {folder: self._code(folder, job, now) for folder, job in self.running.items()}
        codes = {folder: code for folder, code in found.items() if code is not None}
        for folder in codes:
            self.asked.pop(folder, None)
            self.gone.pop(folder, None)
        return codes

    def stop(self, folder: Path, at_once: bool = False) -> None:
        """Send the job SIGTERM; `at_once` kills it."""
        code = -signal.SIGKILL if at_once else INTERRUPTED
        if self.asked.get(folder) == code:
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

    def _code(self, folder: Path, job: Any, now: float) -> int | None:
        """A job's exit code; None while it runs, or while a shared disk may still hide its result."""
        settle = 0 if self.cluster == "local" else SOON_S if folder in self.asked else SETTLE_S
        if job.paths.result_pickle.exists():
            if error := job.exception():
                self.log(folder, str(error))
            return 1 if error else int(job.result())
        if now - self.gone.get(folder, float("inf")) < settle:
            return None
        code = self.asked.get(folder, -signal.SIGKILL)
        if code != INTERRUPTED:
            self.log(folder, f"job {job.job_id} ended without a result; its log is {job.paths.stderr}")
        return code

    def _list(self, now: float) -> None:
        """Find out which jobs are gone."""
        if self.cluster == "local":
            gone = [folder for folder, job in self.running.items() if job.done()]
        elif now - self.listed < (SOON_S if self.asked else CONTROLLER_S):
            return
        else:
            self.listed = now
            listed = _slurm("squeue", "--noheader", "--format=%A", f"--user={os.getuid()}")
            if listed is None:  # it does not answer: nothing is known
                return
            gone = [folder for folder, job in self.running.items() if job.job_id not in listed.split()]
        self.gone = {folder: self.gone.get(folder, now) for folder in gone}


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise missing_extra("slurm", "slurm") from None
    return submitit


def _check(options: Slurm.Options) -> None:
    """Refuse at once what would wait in the queue for ever."""
    partition, gpus = options.partition, options.gpus
    if options.cluster == "local":
        if gpus and devices() == ["cpu"]:
            raise SpecError(f"slurm: gpus: {gpus}: this machine has no GPU")
        return
    if missing := [p for p in ("sbatch", "srun", "squeue", "scancel", "sinfo") if not shutil.which(p)]:
        raise SpecError(f"slurm: there is no {missing[0]} on this machine: is it a cluster's login node?")
    listed = _slurm("sinfo", "--noheader", "--format=%R %G")
    if listed is None:
        raise SpecError("slurm: the controller (slurmctld) does not answer")
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
