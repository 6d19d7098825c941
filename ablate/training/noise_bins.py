"""The loss by noise level: means of loss, teacher-student gap and gradient in bins of sigma."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ablate.core.lazy import torch
from ablate.training.loss import Terms

if TYPE_CHECKING:
    import pandas as pd

BINS = 8
# number of images; means of weight times distance, of distance, and of |d loss / dF|
NAMES = ("count", "loss", "gap", "gradient")


def edges(sigma_min: float, sigma_max: float) -> list[float]:
    """The BINS + 1 edges of the bins, equally spaced in ln sigma."""
    ratio = sigma_max / sigma_min
    return [sigma_min * ratio ** (i / BINS) for i in range(BINS + 1)]


def bins(sigma: torch.Tensor, sigma_min: float, sigma_max: float) -> torch.Tensor:
    """The bin of each sigma (n,), int64, 0 to BINS - 1; a sigma outside the range is in the nearest bin."""
    place = (sigma.double() / sigma_min).log() / math.log(sigma_max / sigma_min)
    return (place * BINS).long().clamp(0, BINS - 1)


def by_level(terms: Sequence[Terms], sigma_min: float, sigma_max: float) -> dict[str, float]:
    """`count_sigma_<i>`, `loss_...`, `gap_...`, `gradient_...` of several steps, i the bin of sigma_student.

    Every image counts once. The gap is the metric's distance between the student's and the teacher's image, without
    the weight, in the metric's units. The gradient is the norm of d loss / dF, where F is the network's output: how
    much an image of that level changes the network. An empty bin has only its count. Synchronizes with the device once.
    """
    sigma_student = torch.cat([t.sigma_student.double() for t in terms])
    gap = torch.cat([t.distance.detach().double() for t in terms])
    weight = torch.cat([t.weight.double() for t in terms])
    index = bins(sigma_student, sigma_min, sigma_max)
    values = [torch.ones_like(gap), weight * gap, gap]
    if all(t.gradient is not None for t in terms):
        values.append(torch.cat([t.gradient.double() for t in terms if t.gradient is not None]))
    sums = [
        torch.zeros(BINS, dtype=torch.float64, device=sigma_student.device).index_add_(0, index, v)
        for v in values
    ]
    count, *totals = torch.stack(sums).tolist()
    averages = {f"count_sigma_{i}": n for i, n in enumerate(count)}
    for name, total in zip(NAMES[1:], totals, strict=False):
        averages |= {f"{name}_sigma_{i}": total[i] / n for i, n in enumerate(count) if n}
    return averages


def frame(
    lines: Sequence[Mapping[str, Any]], sigma_min: float = 0.002, sigma_max: float = 80.0
) -> pd.DataFrame:
    """A cell's metric lines as a table: step, images, bin, sigma (the bin's middle), count, loss, gap, gradient.

    One row per logged line and non-empty bin. Plot the gap over sigma, or a bin over images.

    Args:
        lines: as `Folder.lines` returns them; lines without these metrics are skipped.
        sigma_min, sigma_max: of the levels that the cell was trained on.
    """
    import pandas as pd

    ends = edges(sigma_min, sigma_max)
    rows = [
        {"step": line["step"], "images": line["images"], "bin": i, "sigma": math.sqrt(low * high)}
        | {name: line["metrics"].get(f"{name}_sigma_{i}", math.nan) for name in NAMES}
        for line in lines
        for i, (low, high) in enumerate(itertools.pairwise(ends))
        if line["metrics"].get(f"count_sigma_{i}")
    ]
    return pd.DataFrame(rows, columns=["step", "images", "bin", "sigma", *NAMES])
