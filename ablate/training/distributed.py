"""One cell on several devices: its processes, and what they tell each other.

Every rank draws the whole batch and passes its part of it, so N(k), noise and levels depend on the step alone. All
gradients are one vector, added up once a step: no network is wrapped, and a state dict has the same keys as ever.
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
from ablate.core.lazy import torch
from ablate.training.loss import Terms

STEP = timedelta(minutes=20)  # the longest that devices wait for each other in a step
WORK = timedelta(hours=24)  # the longest that ranks wait for what one does alone: an evaluation, a checkpoint
LOST_S = 60.0  # for the launcher to see which rank was the first to end
HEAVY = ["torch.distributed.elastic.multiprocessing.api"]  # imported once, by the server that forks the ranks
Found = TypeVar("Found")


class Lost(RuntimeError):
    """Another rank has ended: what that rank says is the reason, not this."""


class Failed(Exception):
    """A rank raised; the message is the user's mistake, or names the exception."""


class Ended(Exception):
    """The ranks ended without a result, with this exit code; 128 + n for a signal n, 130 where it was wished."""

    def __init__(self, code: int):
        super().__init__(f"exit code {code}")
        self.code = code


def divided(profile: Profile, ranks: int, devices: int | None = None) -> None:
    """Refuse what can not be divided among `ranks`.

    Args:
        devices: how many there are, where a rank needs one to itself.
    Raises:
        SpecError: the batch has no equal parts, or there are fewer devices than ranks.
    """
    parts = ranks * profile.accumulate
    if profile.batch % parts:
        law = "devices per cell times accumulate must divide batch"
        found = f"{ranks} times {profile.accumulate} and batch={profile.batch}"
        raise SpecError(f"--devices-per-cell {ranks}: {law}, but got {found}")
    if devices is not None and devices < ranks:
        raise SpecError(f"--devices-per-cell {ranks}: there are {devices} devices")


class Ranks:
    """The processes that train a cell together, as one of them sees them; alone, nobody is told or asked anything.

    Args:
        rank: which of them this is, from 0.
        size: how many there are.
        host: the group in which their hosts talk, without a device that would have to be waited for.
    """

    def __init__(self, rank: int = 0, size: int = 1, host: Any = None):
        self.rank, self.size, self.host = rank, size, host

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, accumulate: int) -> tuple[int, range]:
        """Into how many parts a batch is divided, and which of them are this rank's, `accumulate` each."""
        return self.size * accumulate, range(self.rank * accumulate, (self.rank + 1) * accumulate)

    def add_gradients(self, weights: torch.nn.Parameter) -> None:
        """`weights.grad` becomes the sum over the ranks, bit by bit the same on each."""
        if self.size > 1 and weights.grad is not None:
            with _collective():
                torch.distributed.all_reduce(weights.grad)

    def gather(self, terms: Terms) -> Terms:
        """The terms of the whole batch (B,) from those of every rank's part (B / size,)."""
        if self.size == 1:
            return terms
        mine = {name: value for name, value in vars(terms).items() if value is not None}
        packed = torch.stack([value.double() for value in mine.values()])  # float32 comes back as it was
        parts = [torch.empty_like(packed) for _ in range(self.size)]
        with _collective():
            torch.distributed.all_gather(parts, packed)
        whole = torch.cat(parts, dim=1)
        return Terms(**{name: row.to(mine[name].dtype) for name, row in zip(mine, whole, strict=True)})

    def any(self, flag: bool) -> bool:
        """Whether the flag of any rank is set; the same answer on all."""
        if self.size == 1:
            return flag
        told = torch.tensor([flag], dtype=torch.uint8)
        with _collective():
            torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX, group=self.host)
        return bool(told)

    def alone(self, work: Callable[[], Found], passed: tuple[type[Exception], ...] = ()) -> Found:
        """What `work` returns on rank 0, on every rank; the others wait for it.

        Args:
            passed: exceptions that every rank raises when `work` does; of others rank 0 dies.
        """
        if self.size == 1:
            return work()
        found: list[Any] = [None, None]
        if self.first:
            try:
                found[0] = work()
            except passed as error:
                found[1] = error
        with _collective():
            torch.distributed.broadcast_object_list(found, src=0, group=self.host)
        if found[1]:
            raise found[1]
        return found[0]  # type: ignore[no-any-return]


ALONE = Ranks()


@contextlib.contextmanager
def _collective() -> Iterator[None]:
    """Both gloo and NCCL raise a RuntimeError of some text when a rank is gone."""
    try:
        yield
    except RuntimeError as error:
        raise Lost(f"another rank has ended: {error}") from error


def launch(work: Callable[..., Found], arguments: tuple[Any, ...], ranks: int, device: str = "cpu") -> Found:
    """Run `work(Ranks, stop, *arguments)` in so many processes of this machine; what it returns on rank 0.

    With `cuda` rank i sees the i-th of the visible devices only. SIGTERM goes to all ranks once, and fills their lists
    `stop`; when one ends in whatever way the others are ended.

    Args:
        work: importable by name; what it returns is pickled.
    Raises:
        Failed, Ended: how the ranks ended without a result.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    before = signal.signal(signal.SIGTERM, _stop_once)
    try:
        _serve(work)
        with tempfile.TemporaryDirectory(prefix="ablate-ranks-") as logs:
            found = elastic_launch(_config(ranks, logs), _enter)(work, device, *arguments)
        return found[0]  # type: ignore[no-any-return]
    except ChildFailedError as error:
        raise _reason(error) from None
    except SignalException:
        raise Ended(128 + signal.SIGINT) from None  # as after a Ctrl-C
    finally:
        signal.signal(signal.SIGTERM, before)


def _config(ranks: int, logs: str) -> Any:
    """torchrun's configuration of local ranks that are not begun again: that is up to who started this process."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    # read by the configuration from torch 2.12 on: after SIGTERM an evaluation may be waited for, as in one process
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(int(WORK.total_seconds())))
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",  # else the machine's name is looked up, which may take long or fail
        max_restarts=0,
        start_method="forkserver",  # torch is imported once; a rank has no thread or lock of the launcher's
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        signals_to_handle="SIGINT,SIGHUP,SIGQUIT",  # SIGTERM is ours
        virtual_local_rank=True,
    )


def _serve(work: Callable[..., Any]) -> None:
    """Start the server that forks the ranks, deaf to the SIGTERM that a scheduler sends to all processes of a job.

    The ranks inherit that until they have a handler, so that a signal which comes while they start is not lost.
    """
    multiprocessing.set_forkserver_preload([*HEAVY, work.__module__])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _stop_once(number: int, frame: object) -> None:
    """What torch's launcher understands; a second SIGTERM would make it give up waiting for the checkpoint."""
    from torch.distributed.elastic.multiprocessing.api import SignalException

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SignalException("asked to stop", signal.Signals(number))


def _reason(error: Any) -> Exception:
    """What the first rank to fail said, else how it ended."""
    failure = error.get_first_failure()[1]
    if isinstance(failure.message, dict):  # of an exception
        kind, _, text = failure.message["message"].partition(": ")
        return Failed(text if kind == SpecError.__name__ else f"{kind}: {(text.splitlines() or [''])[0]}")
    return Ended(failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode)


def _enter(work: Callable[..., Found], device: str, *arguments: Any) -> Found | None:
    """What every rank runs."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    try:
        with _joined(device) as ranks:
            found = work(ranks, stop, *arguments)
    except Lost:
        deadline = time.monotonic() + LOST_S
        while not stop and time.monotonic() < deadline:
            time.sleep(0.05)
        raise
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to save while the others are waited for
    return found if ranks.first else None


@contextlib.contextmanager
def _joined(device: str) -> Iterator[Ranks]:
    """The ranks, connected; on an error they are left as they are, for a device may never answer again."""
    distributed, cuda = torch.distributed, torch.device(device).type == "cuda"
    own = torch.device("cuda", 0) if cuda else None
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=STEP, device_id=own)
    host = distributed.new_group(backend="gloo", timeout=WORK)
    yield Ranks(distributed.get_rank(), distributed.get_world_size(), host)
    distributed.destroy_process_group()


def _end_with_launcher() -> None:
    """A rank that outlives the launcher would go on with a cell that nobody holds any more."""
    launcher = multiprocessing.parent_process()
    if launcher:
        launcher.join()
        os._exit(1)
