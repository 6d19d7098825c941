"""The worker process: train and evaluate one cell, and write its record."""

from __future__ import annotations

import contextlib
import faulthandler
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

from ablate.core import crashes
from ablate.core.errors import SpecError
from ablate.core.files import read_json, write_json
from ablate.core.hardware import processor, use
from ablate.data import datasets
from ablate.data.kept import tenths
from ablate.planning.cells import Cell
from ablate.runs import failures, heartbeat
from ablate.runs.assess import Diverged, save_model
from ablate.runs.heartbeat import Heartbeat
from ablate.runs.loop import Interrupted, OnStep, Run
from ablate.runs.record import BUSY, INTERRUPTED, NO_DISK, UNAVAILABLE, blank
from ablate.runs.store import Folder, Store, complete, describe, restore
from ablate.training import distributed
from ablate.training.distributed import ALONE, Ranks
from ablate.training.trainer import Trainer


def work(path: str, device: str, threads: int, ranks: int = 1) -> None:
    """Compute the cell in folder `path`; the exit code is 0 once its record is written, whatever its state.

    Args:
        device: `cpu` or `cuda`; with several processes on `cuda`, each has a visible GPU of its own.
        threads: of each process.
        ranks: number of processes.
    """
    folder = Folder(Path(path))
    _log_to(folder.log)
    stop = _stop_on(signal.SIGTERM)
    use(threads)
    try:
        with folder.lock().acquire(timeout=0):
            (folder.path / "pid").write_text(str(os.getpid()))
            if folder.recorded or heartbeat.running_elsewhere(folder):  # another process was faster
                sys.exit(BUSY)
            if ranks > 1:
                _write_record(folder, lambda: _compute_on_ranks(folder, device, threads, ranks, stop))
                return
            with Heartbeat(folder, device=device, pid=os.getpid()) as heart:
                _write_record(folder, lambda: compute(_cell(folder), folder, device, stop, heart.at))
    except filelock.Timeout:
        sys.exit(BUSY)
    except Interrupted:
        sys.exit(INTERRUPTED)
    except distributed.Ended as ended:
        if ended.code == NO_DISK:
            os._exit(NO_DISK)
        sys.exit(ended.code)
    except Exception as error:
        _give_up(folder, error)


def _give_up(folder: Folder, error: Exception) -> NoReturn:
    """Exit without a record if the machine failed, with the reason as the last line of the log; else raise it."""
    if isinstance(error, OSError) and failures.unwritable(error, folder.path.parent):
        with contextlib.suppress(OSError):  # the log is on the same disk
            print(f"{error.filename or folder.path}: {(error.strerror or str(error)).lower()}")
        os._exit(NO_DISK)  # an ordinary exit would fail to flush
    if isinstance(error, distributed.Lost) or not failures.of_machine(error):
        raise error
    traceback.print_exception(error, file=sys.stdout)
    print(failures.line(error), flush=True)
    sys.exit(UNAVAILABLE)


def main(arguments: list[str]) -> None:
    """`python -m ablate.runs.worker FOLDER DEVICE THREADS [RANKS]`: the command that executors start."""
    folder, device, threads, *ranks = arguments
    work(folder, device, int(threads), *map(int, ranks))


def _cell(folder: Folder) -> Cell:
    return restore(read_json(folder.config))


def _compute_on_ranks(
    folder: Folder, device: str, threads: int, ranks: int, stop: list[int]
) -> dict[str, Any]:
    """The record of a cell that several processes compute together."""
    cuda = torch.device(device).type == "cuda"
    distributed.check_ranks(_cell(folder).profile, ranks, torch.cuda.device_count() if cuda else None)
    if stop:
        raise Interrupted
    return distributed.launch(_rank, (folder.path, device, threads), ranks, device)


def _rank(ranks: Ranks, stop: list[int], path: Path, device: str, threads: int) -> dict[str, Any]:
    """One of several processes; the first writes the cell's heartbeat."""
    folder, launcher = Folder(path), multiprocessing.parent_process()
    _log_to(folder.log)
    use(threads)
    heart = Heartbeat(folder, device=device, pid=launcher.pid if launcher else os.getpid())
    try:
        with heart if ranks.first else contextlib.nullcontext():
            return compute(_cell(folder), folder, device, stop, heart.at, ranks)
    except Interrupted:
        sys.exit(INTERRUPTED)
    except Exception as error:
        _give_up(folder, error)


def _log_to(path: Path) -> None:
    """Redirect all output of the process to the cell's log, including that of libraries and crashes."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(handle, 1), os.dup2(handle, 2)
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    faulthandler.enable(handle, all_threads=False)


def _stop_on(number: int) -> list[int]:
    """A list that is empty until the signal arrives."""
    seen: list[int] = []
    signal.signal(number, lambda n, _: seen.append(n))
    return seen


def _write_record(folder: Folder, run: Callable[[], dict[str, Any]]) -> None:
    """Write the record of `run`, or of the recipe's failure; none if it is interrupted or the machine failed."""
    try:
        with crashes.exits_raise():
            record = run()
    except (Interrupted, filelock.Timeout, distributed.Ended):
        raise
    except SystemExit as end:
        if not (place := crashes.raised_by(end)):
            raise
        traceback.print_exc()
        record = blank(read_json(folder.config), "failed", f"{place}: {crashes.described(end)}")
    except distributed.Failed as error:
        record = blank(read_json(folder.config), "failed", str(error))
    except Exception as error:
        if failures.of_machine(error):
            raise
        record = _failed(folder, error)
    write_json(folder.record, record)
    if record["state"] != "failed":
        folder.remove_checkpoints()


def _failed(folder: Folder, error: Exception) -> dict[str, Any]:
    traceback.print_exc()
    reason = (str(error).splitlines() or [""])[0]
    return blank(read_json(folder.config), "failed", f"{type(error).__name__}: {reason}")


def compute(
    cell: Cell,
    folder: Folder,
    device: str = "cpu",
    stop: list[int] | None = None,
    on_step: OnStep = lambda step, images: None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train and evaluate a cell, from its checkpoint if there is one, and return its record.

    Args:
        stop: becomes non-empty when the cell should save and end.
        on_step: called after every step with the number of steps and of images.
        ranks: the processes that compute it together; only the first writes files.
    Raises:
        Interrupted: `stop` became non-empty; a checkpoint was written.
        SpecError: the images, the code or the files that the cell depends on are not those that its key names.
    """
    with failures.outside_recipe(Interrupted, SpecError):
        images = _images(cell, folder, device, stop or [])
    _require_named_by_key(cell)
    ranks.on_first_rank(lambda: complete(folder, cell, images.shape))
    recipe = cell.recipe.given(_needed(cell, Store(folder.path.parent)))
    trainer = Trainer(recipe, cell.profile, images, cell.seed, device, ranks)
    run = Run(cell, folder, trainer, images, stop if stop is not None else [], on_step)
    record = blank(describe(cell), "finished")
    used = {"device": _device(device), "threads": torch.get_num_threads(), "ranks": ranks.size}
    used |= {"compiled": cell.profile.compile, "images": images.place}
    record["provenance"] |= used | {"data": images.source}
    try:
        run.train()
        measured = run.assess()
        record["provenance"] |= measured.pop("provenance")
        record |= measured
        ranks.on_first_rank(lambda: save_model(trainer.average, folder.model))
    except Diverged as error:
        record |= {"state": "diverged", "reason": str(error)}
        print(error)
    parameters = sum(p.numel() for p in trainer.network.parameters())
    return record | {
        "images": trainer.k * cell.profile.batch,
        "wall_s": run.wall_s(),
        "parameters": parameters,
    }


def _images(cell: Cell, folder: Folder, device: str, stop: list[int]) -> datasets.Images:
    """The cell's images, from the cache if it has them, so that their files are not read again."""
    say = tenths(print)

    def on_images(done: int, total: int) -> None:
        say(done, total)
        if stop:
            raise Interrupted

    cache = Store(folder.path.parent).cache
    return datasets.load(cell.profile.data, device, cache, cell.fingerprint, on_images)


def _require_named_by_key(cell: Cell) -> None:
    """Require that the code and the weights that this process has read have the key of the cell."""
    if cell.at(cell.seed).key != cell.key:
        raise SpecError("code or weights that the recipe uses changed after this cell was planned")


def _needed(cell: Cell, store: Store) -> dict[str, Path]:
    """The folders of the cells that a cell reads, by axis; SpecError if one is not finished."""
    for axis, need in cell.needs.items():
        if reason := store.unfinished(need.key):
            raise SpecError(f"{axis}: {reason}")
    return {axis: store.folder(need.key).path for axis, need in cell.needs.items()}


def _device(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()


if __name__ == "__main__":
    main(sys.argv[1:])
