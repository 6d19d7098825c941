"""The consumer of a trainer's steps: logs, saves, evaluates, stops where it is asked to."""

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

Tell = Callable[[int, int], None]


class Interrupted(Exception):
    """SIGTERM arrived; the checkpoint is written."""


class Run:
    """The consumer of a trainer's steps: logs, saves, evaluates, stops."""

    def __init__(
        self,
        cell: Cell,
        folder: Folder,
        trainer: Trainer,
        images: datasets.Images,
        stop: list[int],
        tell: Tell,
    ):
        self.cell, self.folder, self.trainer, self.images = cell, folder, trainer, images
        self.stop, self.tell, self.ranks = stop, tell, trainer.ranks
        state = folder.load(trainer.device)
        self.before_s, self.saved = 0.0, -1  # seconds before this start, step of the last checkpoint
        if state:
            trainer.load_state_dict(state["trainer"])
            self.before_s = state["wall_s"]
            print(f"goes on from step {trainer.k}")
        if (first := self.ranks.alone(lambda: trainer.k)) != trainer.k:
            sys.exit(
                f"rank {self.ranks.rank} could not read the checkpoint of step {first}"
            )  # it may next time
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
            if reads := last or step.k % profile.log_every == 0:
                self.flush()
            if last or self._passed(step.images, self.save_every):
                self.save()
            # several ranks agree where they read losses anyway, else their hosts would meet after every step
            if (reads or self.ranks.size == 1) and self.ranks.any(bool(self.stop)):
                self._end()
            self._rung()

    def _rung(self) -> None:
        """Evaluate where it is due in the middle of training, once."""
        k, every = self.trainer.k, self.cell.profile.evaluation.every
        due = every and 0 < k < self.trainer.K and self._passed(k * self.cell.profile.batch, every)
        if due and not self.ranks.alone(lambda: self._assessed_at(k)):
            self.flush()
            self.assess()

    def _assessed_at(self, k: int) -> bool:
        return any(x["step"] == k and "fid_1step" in x["metrics"] for x in self.folder.lines())

    def _end(self) -> NoReturn:
        """End here as was wished, with all that was computed saved."""
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
        """Write a checkpoint; a loss that is not finite never gets into one."""
        self.flush()
        state = {"trainer": self.trainer.state_dict(), "wall_s": self.wall_s()}
        self.ranks.alone(lambda: self.folder.save(state))
        self.saved = self.trainer.k

    def assess(self) -> dict[str, Any]:
        """What `assess` finds on the first rank."""
        started, known = time.perf_counter(), (self.cell, self.folder, self.trainer, self.images)
        try:
            return self.ranks.alone(lambda: assess(*known, self._heed), (Diverged, Interrupted))
        except Interrupted:
            self._end()
        finally:
            self.last_flush += time.perf_counter() - started  # images_per_s is of training

    def _heed(self) -> None:
        if self.stop:
            raise Interrupted
