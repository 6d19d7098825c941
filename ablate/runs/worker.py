"""One cell from its folder to its record: train, evaluate, write; what a worker process does."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import filelock
import torch

from ablate.core.errors import SpecError
from ablate.core.files import read_json, write_json
from ablate.core.hardware import processor, use
from ablate.data import datasets
from ablate.planning.cells import Cell
from ablate.planning.planner import image_shape
from ablate.runs import heartbeat
from ablate.runs.assess import Diverged, save_model
from ablate.runs.heartbeat import Heartbeat
from ablate.runs.loop import Interrupted, Run, Tell
from ablate.runs.record import BUSY, INTERRUPTED, NO_DISK, UNWRITABLE, blank
from ablate.runs.store import Folder, describe, restore
from ablate.training import distributed
from ablate.training.distributed import ALONE, Ranks
from ablate.training.trainer import Trainer


def work(path: str, device: str, threads: int, ranks: int = 1) -> None:
    """Compute the cell in folder `path`; exits 0 when this wrote its record, whatever the state.

    Args:
        device: `cpu` or `cuda`; with several ranks, each has a process of the CPU or a visible GPU of its own.
        threads: of each rank.
    """
    folder = Folder(Path(path))
    _log_to(folder.log)
    stop = _stop_on(signal.SIGTERM)
    use(threads)
    try:
        with folder.lock().acquire(timeout=0):
            (folder.path / "pid").write_text(str(os.getpid()))
            if folder.record.exists() or heartbeat.running_elsewhere(folder):  # another run was faster
                sys.exit(BUSY)
            if ranks > 1:
                _settle(folder, lambda: _together(folder, device, threads, ranks, stop))
                return
            with Heartbeat(folder, device=device, pid=os.getpid()) as heart:
                _settle(folder, lambda: compute(_cell(folder), folder, device, stop, heart.at))
    except filelock.Timeout:
        sys.exit(BUSY)
    except Interrupted:
        sys.exit(INTERRUPTED)
    except distributed.Ended as ended:
        if ended.code == NO_DISK:
            os._exit(NO_DISK)
        sys.exit(ended.code)
    except OSError as error:
        _give_up(folder, error)


def _give_up(folder: Folder, error: OSError) -> NoReturn:
    """Exit where the error says that nothing can be written; raise any other."""
    if error.errno not in UNWRITABLE:
        raise error
    with contextlib.suppress(OSError):  # the log is on the same disk
        print(f"{error.filename or folder.path}: {(error.strerror or str(error)).lower()}")
    os._exit(NO_DISK)  # an ordinary exit would fail to flush


def main(arguments: list[str]) -> None:
    """`python -m ablate.runs.worker FOLDER DEVICE THREADS [RANKS]`: what executors run that start a command."""
    folder, device, threads, *ranks = arguments
    work(folder, device, int(threads), *map(int, ranks))


def _cell(folder: Folder) -> Cell:
    return restore(read_json(folder.config))


def _together(folder: Folder, device: str, threads: int, ranks: int, stop: list[int]) -> dict[str, Any]:
    """The record of a cell that several ranks compute."""
    cuda = torch.device(device).type == "cuda"
    distributed.divided(_cell(folder).profile, ranks, torch.cuda.device_count() if cuda else None)
    if stop:
        raise Interrupted
    return distributed.launch(_rank, (folder.path, device, threads), ranks, device)


def _rank(ranks: Ranks, stop: list[int], path: Path, device: str, threads: int) -> dict[str, Any]:
    """What each rank does; the first writes the cell's heartbeat."""
    folder, launcher = Folder(path), multiprocessing.parent_process()
    _log_to(folder.log)
    use(threads)
    heart = Heartbeat(folder, device=device, pid=launcher.pid if launcher else os.getpid())
    try:
        with heart if ranks.first else contextlib.nullcontext():
            return compute(_cell(folder), folder, device, stop, heart.at, ranks)
    except Interrupted:
        sys.exit(INTERRUPTED)
    except OSError as error:
        _give_up(folder, error)


def _log_to(path: Path) -> None:
    """Send all that the process prints, libraries and crashes included, to the cell's log."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(handle, 1), os.dup2(handle, 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _stop_on(number: int) -> list[int]:
    """A list that a signal makes non-empty."""
    seen: list[int] = []
    signal.signal(number, lambda n, _: seen.append(n))
    return seen


def _settle(folder: Folder, computed: Callable[[], dict[str, Any]]) -> None:
    """Write a record, whatever happens but an interruption, or a disk that takes nothing."""
    try:
        record = computed()
    except (Interrupted, filelock.Timeout, distributed.Ended):
        raise
    except distributed.Failed as error:
        record = blank(read_json(folder.config), "failed", str(error))
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise
        record = _failed(folder, error)
    except SpecError as error:
        record = blank(read_json(folder.config), "failed", str(error))
        print(error)
    except Exception as error:
        record = _failed(folder, error)
    write_json(folder.record, record)
    if record["state"] != "failed":
        folder.forget_checkpoints()


def _failed(folder: Folder, error: Exception) -> dict[str, Any]:
    traceback.print_exc()
    reason = (str(error).splitlines() or [""])[0]
    return blank(read_json(folder.config), "failed", f"{type(error).__name__}: {reason}")


def compute(
    cell: Cell,
    folder: Folder,
    device: str = "cpu",
    stop: list[int] | None = None,
    tell: Tell = lambda step, images: None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train and evaluate a cell, from its checkpoint where it has one; the record.

    Args:
        stop: becomes non-empty when the cell is to save and end.
        tell: called with the count of steps and of images after every step.
        ranks: the processes that compute it together, of which the first alone writes.
    Raises:
        Interrupted: `stop` became non-empty; a checkpoint was written.
    """
    images = datasets.load(cell.profile.data, device)
    if (planned := image_shape(cell.profile)) != images.shape:
        raise SpecError(
            f"profile.data: the first image is {planned}, but all of them together are {images.shape}"
        )
    trainer = Trainer(cell.recipe, cell.profile, images, cell.seed, device, ranks)
    run = Run(cell, folder, trainer, images, stop if stop is not None else [], tell)
    record = blank(describe(cell), "finished")
    used = {"device": _device(device), "threads": torch.get_num_threads(), "ranks": ranks.size}
    used |= {"compiled": cell.profile.compile}
    record["provenance"] |= used | {"data": images.source}
    try:
        run.train()
        record |= run.assess()
        ranks.alone(lambda: save_model(trainer.average, folder.model))
    except Diverged as error:
        record |= {"state": "diverged", "reason": str(error)}
        print(error)
    parameters = sum(p.numel() for p in trainer.network.parameters())
    return record | {
        "images": trainer.k * cell.profile.batch,
        "wall_s": run.wall_s(),
        "parameters": parameters,
    }


def _device(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()


if __name__ == "__main__":
    main(sys.argv[1:])
