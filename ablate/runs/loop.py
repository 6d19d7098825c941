"""The training loop of a cell: log losses, save checkpoints, evaluate, stop on request."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import torch

from ablate.data import datasets
from ablate.planning.cells import Cell
from ablate.runs.assess import Diverged, assess
from ablate.runs.store import Folder
from ablate.training import noise_bins
from ablate.training.trainer import Step, Trainer

OnStep = Callable[[int, int], None]  # steps and images so far


class Interrupted(Exception):
    """SIGTERM arrived; the checkpoint is written."""


class Run:
    """Runs a trainer's steps: logs losses, saves checkpoints, evaluates, and stops when `stop` is not empty."""

    def __init__(
        self,
        cell: Cell,
        folder: Folder,
        trainer: Trainer,
        images: datasets.Images,
        stop: list[int],
        on_step: OnStep,
    ):
        self.cell, self.folder, self.trainer, self.images = cell, folder, trainer, images
        self.stop, self.on_step, self.ranks = stop, on_step, trainer.ranks
        state = folder.load(trainer.device)
        self.before_s, self.saved = 0.0, -1  # seconds before this start, step of the last checkpoint
        if state:
            trainer.load_state_dict(state["trainer"])
            self.before_s = state["wall_s"]
            print(f"resumes from step {trainer.k}")
        if (first := self.ranks.on_first_rank(lambda: trainer.k)) != trainer.k:
            # an exit, not a failed cell: the next start may be able to read it
            sys.exit(f"rank {self.ranks.rank} could not read the checkpoint of step {first}")
        self.started = time.perf_counter()
        self.unread: list[Step] = []
        self.last_flush = self.started
        profile = cell.profile
        self.save_every = profile.checkpoint_every or max(profile.images // 10, 1)

    def wall_s(self) -> float:
        """Seconds spent so far, including those before a resume."""
        return round(self.before_s + time.perf_counter() - self.started, 3)

    def train(self) -> None:
        """Run the remaining steps."""
        profile = self.cell.profile
        self._evaluate_if_due()  # the checkpoint may be of a step after which an evaluation was due
        for step in self.trainer:
            self.unread.append(step)
            self.on_step(step.k, step.images)
            last = step.k == self.trainer.K
            if reads := last or step.k % profile.log_every == 0:
                self.flush()
            if last or self._crossed(step.images, self.save_every):
                self.save()
            # several processes agree only where they read losses: doing so after every step would synchronize them
            if (reads or self.ranks.size == 1) and self.ranks.any(bool(self.stop)):
                self._interrupt()
            self._evaluate_if_due()

    def _evaluate_if_due(self) -> None:
        """Evaluate at the evaluation points during training, once at each."""
        k, every = self.trainer.k, self.cell.profile.evaluation.every
        due = every and 0 < k < self.trainer.K and self._crossed(k * self.cell.profile.batch, every)
        if due and not self.ranks.on_first_rank(lambda: self._evaluated_at(k)):
            self.flush()
            self.assess()

    def _evaluated_at(self, k: int) -> bool:
        return any(x["step"] == k and "fid_1step" in x["metrics"] for x in self.folder.lines())

    def _interrupt(self) -> NoReturn:
        """Save the state and raise Interrupted."""
        if self.saved != self.trainer.k:
            self.save()
        raise Interrupted

    def _crossed(self, images: int, every: int) -> bool:
        """Whether this step crossed a multiple of `every` images."""
        return images // every > (images - self.cell.profile.batch) // every

    def flush(self) -> None:
        """Read all losses since the last flush from the device in one transfer.

        Raises:
            Diverged: a loss is not finite.
        """
        if not self.unread:
            return
        losses = torch.stack([s.loss for s in self.unread]).double().cpu()
        step, now = self.unread[-1], time.perf_counter()
        seen = len(self.unread) * self.cell.profile.batch
        finite = losses.isfinite()
        if not finite.all():
            first = int((~finite).nonzero()[0])
            raise Diverged(f"the loss is not finite at step {self.unread[first].k}")
        if self.ranks.first:
            self._log(losses, step, seen / max(now - self.last_flush, 1e-9))
        self.unread, self.last_flush = [], now

    def _log(self, losses: torch.Tensor, step: Step, speed: float) -> None:
        metrics = {"loss": float(losses.mean()), "N": step.N, "lr": step.lr}
        metrics["images_per_s"] = round(speed, 3)
        if step.grad_norm is not None:
            metrics["grad_norm"] = float(step.grad_norm)
        self.folder.append(
            step.k, step.images, {k: v for k, v in metrics.items() if v == v and abs(v) < 1e300}
        )
        levels = self.cell.recipe.levels
        terms = [s.terms for s in self.unread]
        binned = noise_bins.by_level(terms, levels.sigma_min, levels.sigma_max)
        self.folder.append(step.k, step.images, {k: v for k, v in binned.items() if math.isfinite(v)})

    def save(self) -> None:
        """Write a checkpoint, unless a loss is not finite."""
        self.flush()
        state = {"trainer": self.trainer.state_dict(), "wall_s": self.wall_s()}
        self.ranks.on_first_rank(lambda: self.folder.save(state))
        self.saved = self.trainer.k

    def assess(self) -> dict[str, Any]:
        """The result of `assess`, which runs on the first process."""
        started, known = time.perf_counter(), (self.cell, self.folder, self.trainer, self.images)
        try:
            return self.ranks.on_first_rank(lambda: assess(*known, self._check_stop), (Diverged, Interrupted))
        except Interrupted:
            self._interrupt()
        finally:
            self.last_flush += time.perf_counter() - started  # images_per_s counts training only

    def _check_stop(self) -> None:
        if self.stop:
            raise Interrupted
