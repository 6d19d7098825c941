"""One cell from its folder to its record: train, evaluate, write; what a worker process does."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import torch
from safetensors.torch import save_file

from ablate import data, diagnostics, evaluate, heartbeat
from ablate.denoiser import Denoiser
from ablate.heartbeat import Heartbeat
from ablate.machine import processor
from ablate.plan import Cell, image_shape
from ablate.record import BUSY, INTERRUPTED, NO_DISK, UNWRITABLE, blank
from ablate.registry import SpecError
from ablate.sampler import generate
from ablate.store import Folder, Store, describe, read_json, restore, whole, write_json
from ablate.train import Step, Trainer

Tell = Callable[[int, int], None]


class Diverged(Exception):
    """A loss or a sample that is not finite."""


class Interrupted(Exception):
    """SIGTERM arrived; the checkpoint is written."""


def work(path: str, device: str, threads: int) -> None:
    """Compute the cell in folder `path`; exits 0 when this wrote its record, whatever the state."""
    folder = Folder(Path(path))
    _log_to(folder.log)
    stop = _stop_on(signal.SIGTERM)
    torch.set_num_threads(threads)
    try:
        with folder.lock().acquire(timeout=0):
            (folder.path / "pid").write_text(str(os.getpid()))
            if folder.record.exists() or heartbeat.elsewhere(folder):  # another run was faster
                sys.exit(BUSY)
            with Heartbeat(folder, device=device, pid=os.getpid()) as heart:
                _settle(folder, device, stop, heart.at)
    except filelock.Timeout:
        sys.exit(BUSY)
    except Interrupted:
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        with contextlib.suppress(OSError):  # the log is on the same disk
            print(f"{error.filename or folder.path}: {(error.strerror or str(error)).lower()}")
        os._exit(NO_DISK)  # an ordinary exit would fail to flush


def main(arguments: list[str]) -> None:
    """`python -m ablate.cell FOLDER DEVICE THREADS`: what executors run that start a command."""
    folder, device, threads = arguments
    work(folder, device, int(threads))


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


def _settle(folder: Folder, device: str, stop: list[int], tell: Tell) -> None:
    """Write a record, whatever happens but an interruption, or a disk that takes nothing."""
    try:
        record = compute(restore(read_json(folder.config)), folder, device, stop, tell)
    except (Interrupted, filelock.Timeout):
        raise
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
) -> dict[str, Any]:
    """Train and evaluate a cell, from its checkpoint where it has one; the record.

    Args:
        stop: becomes non-empty when the cell is to save and end.
        tell: called with the count of steps and of images after every step.
    Raises:
        Interrupted: `stop` became non-empty; a checkpoint was written.
    """
    images = data.load(cell.profile.data, device)
    if (planned := image_shape(cell.profile)) != images.shape:
        raise SpecError(
            f"profile.data: the first image is {planned}, but all of them together are {images.shape}"
        )
    trainer = Trainer(cell.recipe, cell.profile, images, cell.seed, device)
    run = _Run(cell, folder, trainer, images, stop if stop is not None else [], tell)
    record = blank(describe(cell), "finished")
    record["provenance"] |= {"device": _device(device), "threads": torch.get_num_threads()}
    try:
        run.train()
        record |= run.assess()
        state = trainer.average.network.state_dict()
        weights = {k: v.clone(memory_format=torch.contiguous_format) for k, v in state.items()}
        with whole(folder.model) as temporary:
            save_file(weights, temporary, {"classes": str(trainer.average.classes)})
    except Diverged as error:
        record |= {"state": "diverged", "reason": str(error)}
        print(error)
    parameters = sum(p.numel() for p in trainer.network.parameters())
    return record | {
        "images": trainer.k * cell.profile.batch,
        "wall_s": run.wall_s(),
        "parameters": parameters,
    }


class _Run:
    """The consumer of a trainer's steps: logs, saves, evaluates, stops."""

    def __init__(
        self,
        cell: Cell,
        folder: Folder,
        trainer: Trainer,
        images: data.Images,
        stop: list[int],
        tell: Tell,
    ):
        self.cell, self.folder, self.trainer, self.images = cell, folder, trainer, images
        self.stop, self.tell = stop, tell
        state = folder.load(trainer.device)
        self.before_s, self.saved = 0.0, -1  # seconds before this start, step of the last checkpoint
        if state:
            trainer.load_state_dict(state["trainer"])
            self.before_s = state["wall_s"]
            print(f"goes on from step {trainer.k}")
        self.started = time.perf_counter()
        self.unread: list[Step] = []
        self.last_flush = self.started
        profile = cell.profile
        self.save_every = profile.checkpoint_every or max(profile.images // 10, 1)

    def wall_s(self) -> float:
        """Seconds spent so far, those before a resume included."""
        return round(self.before_s + time.perf_counter() - self.started, 3)

    def train(self) -> None:
        """Consume the steps that are left."""
        profile = self.cell.profile
        self._rung()  # the checkpoint may be of the step after which an evaluation was due
        for step in self.trainer:
            self.unread.append(step)
            self.tell(step.k, step.images)
            last = step.k == self.trainer.K
            if last or step.k % profile.log_every == 0:
                self.flush()
            if last or self._passed(step.images, self.save_every):
                self.save()
            self._heed()
            self._rung()

    def _rung(self) -> None:
        """Evaluate where it is due in the middle of training, once."""
        k, every = self.trainer.k, self.cell.profile.evaluation.every
        due = every and 0 < k < self.trainer.K and self._passed(k * self.cell.profile.batch, every)
        if due and not any(x["step"] == k and "fid_1step" in x["metrics"] for x in self.folder.lines()):
            self.flush()
            self.assess()

    def _heed(self) -> None:
        """End here if that is wished, with all that was computed saved."""
        if self.stop:
            if self.saved != self.trainer.k:
                self.save()
            raise Interrupted

    def _passed(self, images: int, every: int) -> bool:
        """Whether this step passed a multiple of `every` images."""
        return images // every > (images - self.cell.profile.batch) // every

    def flush(self) -> None:
        """Read the losses since the last time from the device, all at once."""
        if not self.unread:
            return
        losses = torch.stack([s.loss for s in self.unread]).double().cpu()
        step, now = self.unread[-1], time.perf_counter()
        seen = len(self.unread) * self.cell.profile.batch
        finite = losses.isfinite()
        if not finite.all():
            first = int((~finite).nonzero()[0])
            raise Diverged(f"the loss is not finite at step {self.unread[first].k}")
        metrics = {"loss": float(losses.mean()), "N": step.N, "lr": step.lr}
        metrics["images_per_s"] = round(seen / max(now - self.last_flush, 1e-9), 3)
        if step.grad_norm is not None:
            metrics["grad_norm"] = float(step.grad_norm)
        self.folder.append(
            step.k, step.images, {k: v for k, v in metrics.items() if v == v and abs(v) < 1e300}
        )
        levels = self.cell.recipe.levels
        terms = [s.terms for s in self.unread]
        binned = diagnostics.by_level(terms, levels.sigma_min, levels.sigma_max)
        self.folder.append(step.k, step.images, {k: v for k, v in binned.items() if math.isfinite(v)})
        self.unread, self.last_flush = [], now

    def save(self) -> None:
        """Write a checkpoint; a loss that is not finite never gets into one."""
        self.flush()
        self.folder.save({"trainer": self.trainer.state_dict(), "wall_s": self.wall_s()})
        self.saved = self.trainer.k

    def assess(self) -> dict[str, Any]:
        """FID and its company at every nfe, sample grids, and a line of metrics."""
        started = time.perf_counter()
        trainer, e = self.trainer, self.cell.profile.evaluation
        seen = trainer.k * self.cell.profile.batch
        cache = Store(self.folder.path.parent).cache
        device = trainer.device
        extractor = evaluate.extractor(e.extractor, self.images, cache)
        reference = evaluate.reference(self.images, e.samples)
        found: dict[str, Any] = {"fid": [], "kid": [], "precision": [], "recall": []}
        metrics: dict[str, float] = {}
        for sigmas in schedules(self.cell):
            self._heed()
            samples = self.samples(trainer.average, sigmas)
            nfe = len(sigmas)
            save_grid(samples[: e.grid], self.folder.samples / f"images_{seen:09d}_{nfe}step.png")
            measured = evaluate.measure(samples, reference, extractor, cache, device)
            entries = evaluate.records(nfe, sigmas, "ema", measured, extractor, reference)
            for name, entry in entries.items():
                found[name].append(entry)
                metrics[f"{name}_{nfe}step"] = entry["value"]
        self.folder.append(trainer.k, seen, metrics)
        real = evaluate.floor(self.images, e.samples, extractor, cache, device)
        found["floor"] = dataclasses.asdict(real) | {
            "extractor": extractor.label,
            "reference": reference.label,
        }
        self.last_flush += time.perf_counter() - started  # images_per_s is of training
        return found

    def samples(self, f: Denoiser, sigmas: list[float]) -> torch.Tensor:
        """uint8 images (n, C, H, W) from the seed's sampling noise."""
        e, levels = self.cell.profile.evaluation, self.cell.recipe.levels
        shape, device = self.images.shape, self.trainer.device
        x = generate(f, shape, e.samples, sigmas, levels.sigma_min, self.cell.seed, e.batch, device)
        try:
            return evaluate.to_uint8(x)
        except evaluate.NotFinite:
            raise Diverged(
                f"samples of {len(sigmas)} steps are not finite at step {self.trainer.k}"
            ) from None


def schedules(cell: Cell) -> list[list[float]]:
    """The descending levels of one-step sampling and of sampling with the levels between."""
    top, middle = cell.recipe.levels.sigma_max, list(cell.profile.evaluation.sigma_mid)
    return [[top], [top, *middle]] if middle else [[top]]


def save_grid(images: torch.Tensor, path: Path, columns: int | None = None) -> None:
    """uint8 images (n, C, H, W) as one PNG, small ones enlarged to be seen; a square unless `columns` are named."""
    from torchvision.utils import make_grid, save_image

    scale = max(1, 32 // images.shape[-1])
    large = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    columns = columns or max(1, round(len(images) ** 0.5))
    save_image(make_grid(large.float().cpu() / 255, nrow=columns, padding=2, pad_value=1.0), path)


def _device(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()


if __name__ == "__main__":
    main(sys.argv[1:])
