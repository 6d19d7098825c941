"""Training one cell on several devices: its processes and their communication.

Every rank draws the whole batch and processes its share of it, so N(k), noise and levels depend on the step only. All
gradients are one vector, summed once per step: no network is wrapped, so a state dict keeps its keys. Buffers such as
running means are those of each rank's own images; rank 0's are saved, as with torch's DistributedDataParallel.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from ablate.config.profile import Profile
from ablate.core.errors import SpecError
from ablate.core.hardware import shorten_sockets
from ablate.core.lazy import torch
from ablate.training.loss import Terms

STEP = timedelta(minutes=20)  # longest time that devices wait for each other in a step
WORK = timedelta(hours=24)  # longest time that ranks wait for work of rank 0: an evaluation, a checkpoint
LOST_S = 60.0  # time for the launcher to see which rank ended first
HEAVY = ["torch.distributed.elastic.multiprocessing.api"]  # the server that forks the ranks imports it once
Result = TypeVar("Result")


class Lost(RuntimeError):
    """Another rank has ended; its error is the reason, not this one."""


class Failed(Exception):
    """A rank raised an exception; the message is that of a SpecError, or names the exception."""


class Ended(Exception):
    """The ranks ended without a result. code: their exit code, 128 + n for signal n, 130 after a request to stop."""

    def __init__(self, code: int):
        super().__init__(f"exit code {code}")
        self.code = code


def check_ranks(profile: Profile, ranks: int, devices: int | None = None) -> None:
    """Check that a cell can be trained by this many ranks.

    Args:
        devices: how many there are, if each rank needs its own.
    Raises:
        SpecError: the batch cannot be divided equally, or there are fewer devices than ranks.
    """
    parts = ranks * profile.accumulate
    if profile.batch % parts:
        law = "devices per cell times accumulate must divide batch"
        given = f"{ranks} times {profile.accumulate} and batch={profile.batch}"
        raise SpecError(f"--devices-per-cell {ranks}: {law}, but got {given}")
    if devices is not None and devices < ranks:
        raise SpecError(f"--devices-per-cell {ranks}: there are {devices} devices")


class Ranks:
    """The processes that train one cell, as seen by one of them. With one process, collectives do nothing.

    Args:
        rank: the number of this process, from 0.
        size: the number of processes.
        host: the process group for communication on the CPU, which needs no synchronization with a device.
    """

    def __init__(self, rank: int = 0, size: int = 1, host: Any = None):
        self.rank, self.size, self.host = rank, size, host

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes the files."""
        return self.rank == 0

    def share(self, accumulate: int) -> tuple[int, range]:
        """The number of micro-batches in a batch, and the indices of this rank's, `accumulate` of them."""
        return self.size * accumulate, range(self.rank * accumulate, (self.rank + 1) * accumulate)

    def add_gradients(self, weights: torch.nn.Parameter) -> None:
        """Sum `weights.grad` over the ranks in place; the result is bit-identical on all of them."""
        if self.size > 1 and weights.grad is not None:
            with _collective():
                torch.distributed.all_reduce(weights.grad)

    def gather(self, terms: Terms) -> Terms:
        """The terms of the whole batch (B,) from those of each rank's share (B / size,)."""
        if self.size == 1:
            return terms
        mine = {name: value for name, value in vars(terms).items() if value is not None}
        # the conversion is exact for float32
        packed = torch.stack([value.double() for value in mine.values()])
        shares = [torch.empty_like(packed) for _ in range(self.size)]
        with _collective():
            torch.distributed.all_gather(shares, packed)
        whole = torch.cat(shares, dim=1)
        return Terms(**{name: row.to(mine[name].dtype) for name, row in zip(mine, whole, strict=True)})

    def any(self, flag: bool) -> bool:
        """Whether any rank has set its flag; all ranks get the same answer."""
        if self.size == 1:
            return flag
        flags = torch.tensor([flag], dtype=torch.uint8)
        with _collective():
            torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX, group=self.host)
        return bool(flags)

    def on_first_rank(
        self, work: Callable[[], Result], shared_errors: tuple[type[Exception], ...] = ()
    ) -> Result:
        """Run `work` on rank 0 while the others wait, and return its result on every rank.

        Args:
            shared_errors: exceptions of `work` that every rank raises; any other exception ends rank 0.
        """
        if self.size == 1:
            return work()
        outcome: list[Any] = [None, None]  # result, error
        if self.first:
            try:
                outcome[0] = work()
            except shared_errors as error:
                outcome[1] = error
        with _collective():
            torch.distributed.broadcast_object_list(outcome, src=0, group=self.host)
        if outcome[1]:
            raise outcome[1]
        return outcome[0]  # type: ignore[no-any-return]


ALONE = Ranks()


@contextlib.contextmanager
def _collective() -> Iterator[None]:
    """Turn the RuntimeError that gloo and NCCL raise when a rank is gone into `Lost`."""
    try:
        yield
    except RuntimeError as error:
        raise Lost(f"another rank has ended: {error}") from error


def launch(
    work: Callable[..., Result], arguments: tuple[Any, ...], ranks: int, device: str = "cpu"
) -> Result:
    """Run `work(Ranks, stop, *arguments)` in several processes of this machine and return the result of rank 0.

    With `cuda`, rank i sees only the i-th visible device. A SIGTERM is passed to all ranks once and fills their lists
    `stop`. When one rank ends early, the others are ended too.

    Args:
        work: importable by name; its result is pickled.
        ranks: the number of processes.
    Raises:
        Failed: a rank raised an exception.
        Ended: the ranks ended without a result.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    before = signal.signal(signal.SIGTERM, _stop_once)
    try:
        _serve(work)
        with tempfile.TemporaryDirectory(prefix="ablate-ranks-") as logs:
            results = elastic_launch(_config(ranks, logs), _enter)(work, device, *arguments)
        return results[0]  # type: ignore[no-any-return]
    except ChildFailedError as error:
        raise _reason(error) from None
    except SignalException:
        raise Ended(128 + signal.SIGINT) from None  # as after a Ctrl-C
    finally:
        signal.signal(signal.SIGTERM, before)


def _config(ranks: int, logs: str) -> Any:
    """torchrun's configuration for local ranks, without restarts: the caller decides whether to restart the cell."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    # read by torch from 2.12 on: after SIGTERM an evaluation may finish, as in a single process
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(int(WORK.total_seconds())))
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",  # looking up the machine's name may take long or fail
        max_restarts=0,
        start_method="forkserver",  # torch is imported once; a rank inherits no thread or lock from the launcher
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        signals_to_handle="SIGINT,SIGHUP,SIGQUIT",  # SIGTERM is handled by `_stop_once`
        virtual_local_rank=True,
    )


def _serve(work: Callable[..., Any]) -> None:
    """Start the server that forks the ranks, with SIGTERM blocked: schedulers send it to all processes of a job.

    The ranks inherit the block until they have a handler, so a signal that arrives while they start is not lost.
    """
    shorten_sockets()
    multiprocessing.set_forkserver_preload([*HEAVY, work.__module__])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _stop_once(number: int, frame: object) -> None:
    """Raise what torch's launcher expects; ignore further SIGTERMs, which would make it kill ranks that still save."""
    from torch.distributed.elastic.multiprocessing.api import SignalException

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SignalException("asked to stop", signal.Signals(number))


def _reason(error: Any) -> Exception:
    """The error of the first rank to fail, or how that rank ended."""
    failure = error.get_first_failure()[1]
    if isinstance(failure.message, dict):  # the rank raised an exception
        kind, _, text = failure.message["message"].partition(": ")
        return Failed(text if kind == SpecError.__name__ else f"{kind}: {(text.splitlines() or [''])[0]}")
    return Ended(failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode)


def _enter(work: Callable[..., Result], device: str, *arguments: Any) -> Result | None:
    """The main function of every rank."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    try:
        with _joined(device) as ranks:
            result = work(ranks, stop, *arguments)
    except Lost:
        deadline = time.monotonic() + LOST_S
        while not stop and time.monotonic() < deadline:
            time.sleep(0.05)
        raise
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to save while waiting for the others
    return result if ranks.first else None


@contextlib.contextmanager
def _joined(device: str) -> Iterator[Ranks]:
    """Connect the ranks. After an error they are not disconnected, because a device may never answer again."""
    distributed, cuda = torch.distributed, torch.device(device).type == "cuda"
    own = torch.device("cuda", 0) if cuda else None
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=STEP, device_id=own)
    host = distributed.new_group(backend="gloo", timeout=WORK)
    yield Ranks(distributed.get_rank(), distributed.get_world_size(), host)
    distributed.destroy_process_group()


def _end_with_launcher() -> None:
    """Exit when the launcher does: this rank no longer holds the cell, and another process may resume it."""
    launcher = multiprocessing.parent_process()
    if launcher:
        launcher.join()
        os._exit(1)
