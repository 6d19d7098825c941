"""FID's own noise and bias, from the two halves of a cell's samples; kept apart from the spread over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablate.analysis.frame import Records

if TYPE_CHECKING:
    from ablate.planning.experiment import Experiment

Halves = tuple[float, float, float]  # FID of all samples, of the first half, of the second half


@dataclass(frozen=True)
class Noise:
    """One-step FID over the cells that were measured by halves; all but the FIDs are relative.

    bias: of half the samples, the median over cells. noise: one standard deviation, by which samples were drawn.
    lowest, unlimited: FID of the best cell, and what infinitely many of its samples would have.
    seeds: one standard deviation over seeds, the noise included; 0 where no row has two.
    """

    cells: int
    bias: float
    noise: float
    lowest: float
    unlimited: float
    seeds: float

    @property
    def seeds_alone(self) -> float:
        """The standard deviation over seeds without the noise of the samples."""
        return float(max(0.0, self.seeds**2 - self.noise**2) ** 0.5)


def noise(experiment: Experiment, records: Records) -> Noise | None:
    """The noise of an experiment's FIDs; None where nothing was measured by halves."""
    found = [h for record in records.values() if (h := halves(record)) and h[0] > 0]
    if not found:
        return None
    best = min(found)
    spreads = [*_between_seeds(experiment, records)]
    return Noise(
        cells=len(found),
        bias=statistics.median((a + b) / 2 / whole - 1 for whole, a, b in found),
        noise=statistics.fmean((deviation(a, b) / whole) ** 2 for whole, a, b in found) ** 0.5,
        lowest=best[0],
        unlimited=extrapolated(*best),
        seeds=statistics.fmean(s**2 for s in spreads) ** 0.5 if spreads else 0.0,
    )


def halves(record: dict[str, Any] | None) -> Halves | None:
    """One-step FID of all samples and of either half; None where a record has none."""
    for entry in (record or {}).get("fid") or []:
        if entry["nfe"] == 1 and len(entry.get("halves") or []) == 2:
            return entry["value"], *entry["halves"]
    return None


def extrapolated(whole: float, first: float, second: float) -> float:
    """FID of infinitely many samples; its bias is proportional to 1/n (Chong and Forsyth, arXiv 1911.07023).

    Half the samples have twice the bias, so the bias of all samples equals what halving adds.
    """
    return 2 * whole - (first + second) / 2


def deviation(first: float, second: float) -> float:
    """Standard deviation of a FID due to its samples: |difference| / sqrt 2 for a half, sqrt 2 less for all."""
    return abs(first - second) / 2


def _between_seeds(experiment: Experiment, records: Records) -> Iterator[float]:
    """Relative standard deviation over the seeds of each distinct row."""
    for keys in dict.fromkeys(row.keys for row in experiment.rows):
        values = [h[0] for key in keys if (h := halves(records.get(key)))]
        if len(values) > 1 and statistics.fmean(values) > 0:
            yield statistics.stdev(values) / statistics.fmean(values)
