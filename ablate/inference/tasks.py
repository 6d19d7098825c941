"""The tasks of `ablate edit`: each turns real images into rows of input, results and original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ablate.config.profile import MAX_PIXELS
from ablate.core.errors import SpecError, nearest
from ablate.core.hardware import devices
from ablate.data import datasets, pictures
from ablate.data.archives import shown
from ablate.inference import editing
from ablate.inference.model import Model, finite_pixels, load, require_own
from ablate.runs.assess import save_grid
from ablate.runs.store import Store
from ablate.training.sampling import noise

Task = Callable[[Model, Tensor, Sequence[float], int], Tensor]  # images (B, C, H, W) -> rows (B, k, C, H, W)

RESULTS = 4  # per image, each from different noise
LEVELS = 11  # noise levels from sigma_max to sigma_min; an edit uses all but sigma_min
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the second image of an interpolation


def descent(model: Model) -> list[float]:
    """The noise levels of an edit, descending from sigma_max to the teacher's level, if it has one.

    sigma_min is left out, since f changes nothing there.
    """
    recipe = model.cell.recipe
    down = list(reversed(recipe.levels(LEVELS).tolist()))[: LEVELS - 1]
    return [sigma for sigma in down if sigma >= recipe.teacher.level]


def edited_rows(
    model: Model,
    y: Tensor,
    sigmas: Sequence[float],
    seed: int,
    measurement: editing.Measurement,
    given: Tensor | None = None,
) -> Tensor:
    """Rows (B, 2 + RESULTS, C, H, W): the known part of the image, results, the original y (B, C, H, W)."""
    require_own(model.cell, sigmas)
    m, many = measurement, y.repeat_interleave(RESULTS, 0)
    x = editing.edit(model.f, many, m.A, m.A_inverse, m.mask, sigmas or descent(model), seed)
    shown = m.given(y) if given is None else given
    return torch.cat([shown[:, None], x.reshape(len(y), RESULTS, *y.shape[1:]), y[:, None]], dim=1)


def inpaint(model: Model, y: Tensor, sigmas: Sequence[float], seed: int) -> Tensor:
    """Fill in the middle of the image."""
    return edited_rows(model, y, sigmas, seed, editing.inpainting(editing.centre(*y.shape[2:])))


def colorize(model: Model, y: Tensor, sigmas: Sequence[float], seed: int) -> Tensor:
    """Colour a gray version of the image."""
    if y.shape[1] != 3:
        raise SpecError(f"--task colorize: needs 3 channels, but cell {model.cell.key} generates gray images")
    return edited_rows(model, y, sigmas, seed, editing.colorization(), editing.grayscale(y))


def superres(model: Model, y: Tensor, sigmas: Sequence[float], seed: int) -> Tensor:
    """Add detail to means of patches of an eighth of the height, at least 2 and at most 8 pixels."""
    return edited_rows(model, y, sigmas, seed, editing.superresolution(min(max(2, y.shape[2] // 8), 8)))


def interpolate(model: Model, y: Tensor, sigmas: Sequence[float], seed: int) -> Tensor:
    """Interpolate from the first image of each pair to the second, between the latent noises of both."""
    if sigmas or len(y) % 2:
        raise SpecError("--task interpolate: needs an even number of images and no --sigmas")
    z = editing.latent(model.f, y, seed)
    between = editing.interpolate(model.f, z[::2], z[1::2], SHARES)
    return torch.cat([y[::2, None], between, y[1::2, None]], dim=1)


def denoise(model: Model, y: Tensor, sigmas: Sequence[float], seed: int) -> Tensor:
    """Add noise of the one level in `sigmas` and remove it in one evaluation.

    By default it is 0.5, or the lowest that the cell was trained for.
    """
    if len(sigmas) > 1:
        raise SpecError(f"--task denoise: needs one level in --sigmas, not {len(sigmas)}")
    sigma = sigmas[0] if sigmas else max(0.5, model.cell.recipe.teacher.level)
    require_own(model.cell, [sigma])
    noisy = y + sigma * noise(seed, y.shape[1:], len(y), 0, str(y.device))
    return torch.stack([noisy, editing.denoise(model.f, noisy, sigma), y], dim=1)


TASKS: dict[str, Task] = {t.__name__: t for t in (inpaint, colorize, superres, interpolate, denoise)}


def read(path: Path, shape: tuple[int, int, int], max_pixels: int = MAX_PIXELS) -> Tensor:
    """An image file as uint8 (C, H, W): opened like those of a data set, cropped around its middle, resized.

    Raises:
        SpecError: the file cannot be read, or is too large.
    """
    import numpy as np
    from PIL import ImageOps

    channels, height, width = shape
    try:
        image = pictures.opened(path.read_bytes(), max_pixels, None).convert("L" if channels == 1 else "RGB")
        fitted = ImageOps.fit(image, (width, height))
    except Exception as error:  # Pillow raises many kinds of errors on damaged files
        raise SpecError(f"--image {shown(str(path))}: {pictures.reason(error)}") from None
    return torch.from_numpy(np.array(fitted)).reshape(height, width, channels).permute(2, 0, 1)


def originals(model: Model, files: Sequence[Path], n: int) -> Tensor:
    """The files, or without any the first n held-out images of the cell's data: (B, C, H, W), float32 in [-1, 1]."""
    if files:
        pixels = torch.stack([read(path, model.shape, model.cell.profile.data.max_pixels) for path in files])
    else:
        pixels = datasets.load(model.cell.profile.data).test[:n]
    return pixels.float() / 127.5 - 1


def write(
    store: Store, key: str, task: str, files: Sequence[Path], sigmas: Sequence[float], seed: int, out: Path
) -> Path:
    """Edit images with a finished cell, and write one PNG with a row per image or pair: input, results, original.

    Args:
        task: one of TASKS.
        files: images; held-out images of the cell's data if empty.
        sigmas: descending noise levels of the edit, or the one level of `denoise`; each task has its own default.
        out: the PNG.
    Raises:
        SpecError: no such task or cell, images that cannot be read, gray images for `colorize`, or results that are
            not finite.
    """
    if task not in TASKS:
        raise SpecError(f"--task {task}: no such task; {nearest(task, TASKS)}")
    device = devices()[0]
    model = load(store, key, device)
    y = originals(model, files, 2 if task == "interpolate" else 1).to(device)
    rows = TASKS[task](model, y, sigmas, seed)
    pixels = finite_pixels(model.cell, rows.flatten(0, 1))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_grid(pixels, out, columns=rows.shape[1])
    except (OSError, ValueError) as error:  # no permission, or a suffix that is not an image format
        raise SpecError(f"--out {out}: {error}") from None
    return out
