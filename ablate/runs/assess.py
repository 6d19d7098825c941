"""Evaluation of a cell: samples of its averaged weights, all metrics, and sample grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ablate.core.files import atomic_write
from ablate.data.datasets import Images
from ablate.evaluation import evaluate
from ablate.evaluation.evaluate import Extractor, Reference
from ablate.evaluation.metrics import METRICS
from ablate.planning.cells import Cell
from ablate.runs.failures import outside_recipe
from ablate.runs.store import REAL, Folder, Store
from ablate.training.denoiser import Denoiser
from ablate.training.sampling import generate
from ablate.training.trainer import Trainer


class Diverged(Exception):
    """A loss or a sample is not finite."""


def assess(
    cell: Cell, folder: Folder, trainer: Trainer, images: Images, check_stop: Callable[[], Any] = lambda: None
) -> dict[str, Any]:
    """Measure all metrics for every sampling schedule, and write sample grids and a line of metrics.

    Args:
        check_stop: called before every sampling schedule; may raise.
    Returns:
        The metrics as fields of a record.
    Raises:
        Diverged: a sample is not finite.
    """
    e, seen = cell.profile.evaluation, trainer.k * cell.profile.batch
    record, metrics = blank(), dict[str, float]()
    by = Ruled.of(cell, images, Store(folder.path.parent).cache, trainer.device)
    print(f"{by.extractor.label}: {by.extractor.origin}")
    save_grid(images.train[: e.grid], folder.samples / REAL)
    for sigmas in schedules(cell):
        check_stop()
        x, nfe = samples(cell, trainer, sigmas), len(sigmas)
        save_grid(x[: e.grid], folder.samples / f"images_{seen:09d}_{nfe}step.png")
        for name, entry in by.entries(x, sigmas).items():
            record[name].append(entry)
            metrics[f"{name}_{nfe}step"] = entry["value"]
    folder.append(trainer.k, seen, metrics)
    return record | {"floor": by.floor(), "provenance": {"extractor": by.extractor.origin or None}}


def blank() -> dict[str, Any]:
    """No entries of any metric."""
    return {name: [] for name in METRICS}


@dataclass(frozen=True)
class Ruled:
    """What samples are measured with: an extractor, and n real images as reference."""

    images: Images
    extractor: Extractor
    reference: Reference
    n: int
    cache: Path
    device: str

    @classmethod
    def of(
        cls, cell: Cell, images: Images, cache: Path, device: str, name: str = "", n: int | None = None
    ) -> Ruled:
        """As the cell's profile says, unless `name` and `n` say otherwise."""
        e = cell.profile.evaluation
        n = n or e.samples
        with outside_recipe():
            extractor = evaluate.extractor(name or e.extractor, images, cache)
            return cls(images, extractor, evaluate.reference(images, n), n, cache, device)

    def entries(self, x: torch.Tensor, sigmas: list[float]) -> dict[str, dict[str, Any]]:
        """The record's entry of every metric, of samples x at levels `sigmas`."""
        with outside_recipe():
            measured = evaluate.measure(x, self.reference, self.extractor, self.cache, self.device)
        found = evaluate.entries(len(sigmas), sigmas, measured, self.extractor, self.reference)
        return {name: entry.model_dump(exclude_none=True) for name, entry in found.items()}

    def floor(self) -> dict[str, Any]:
        """The record's FID of real images."""
        with outside_recipe():
            real = evaluate.of_real_images(self.images, self.n, self.extractor, self.cache, self.device)
        values = {name: real[name] for name in METRICS} | {
            "n": real.n,
            "halves": real.metrics["fid"]["halves"],
        }
        return values | {"extractor": self.extractor.label, "reference": self.reference.label}


def samples(cell: Cell, trainer: Trainer, sigmas: list[float]) -> torch.Tensor:
    """uint8 images (n, C, H, W) that the averaged weights generate from the seed's sampling noise.

    Raises:
        Diverged: a sample is not finite.
    """
    e, shape = cell.profile.evaluation, trainer.data.shape[1:]
    sigma_min, seed = cell.recipe.levels.sigma_min, cell.seed
    x = generate(trainer.average, shape, e.samples, sigmas, sigma_min, seed, e.batch, trainer.device)
    try:
        return evaluate.to_uint8(x)
    except evaluate.NotFinite:
        raise Diverged(f"samples of {len(sigmas)} steps are not finite at step {trainer.k}") from None


def save_model(f: Denoiser, path: Path) -> None:
    """Write the weights of f and its number of classes as safetensors."""
    state = f.network.state_dict()
    weights = {k: v.clone(memory_format=torch.contiguous_format) for k, v in state.items()}
    with atomic_write(path) as temporary:
        save_file(weights, temporary, {"classes": str(f.classes)})


def schedules(cell: Cell) -> list[list[float]]:
    """Descending noise levels of one-step sampling and, if the profile has `sigma_mid`, of multi-step sampling."""
    top, middle = cell.recipe.levels.sigma_max, list(cell.profile.evaluation.sigma_mid)
    return [[top], [top, *middle]] if middle else [[top]]


def save_grid(images: torch.Tensor, path: Path, columns: int | None = None) -> None:
    """Save uint8 images (n, C, H, W) as one PNG, small ones enlarged; the grid is square unless `columns` is given."""
    from torchvision.utils import make_grid, save_image

    scale = max(1, 32 // images.shape[-1])
    large = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    columns = columns or max(1, round(len(images) ** 0.5))
    save_image(make_grid(large.float().cpu() / 255, nrow=columns, padding=2, pad_value=1.0), path)
