"""FID's own noise and bias, from the two halves of a cell's samples; shown apart from the spread over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ablate.analysis.frame import Records
from ablate.core.formats import number

if TYPE_CHECKING:
    from ablate.planning.experiment import Experiment


def halves(record: dict[str, Any] | None, nfe: int = 1) -> tuple[float, float, float] | None:
    """FID of all samples and of either half; None where a record has none."""
    for entry in (record or {}).get("fid") or []:
        if entry["nfe"] == nfe and len(entry.get("halves") or []) == 2:
            return entry["value"], *entry["halves"]
    return None


def extrapolated(whole: float, first: float, second: float) -> float:
    """FID of samples without end, its bias being in proportion to 1/n (Chong and Forsyth, arXiv 1911.07023).

    Half as many samples have twice the bias, so it is as large as what halving adds.
    """
    return 2 * whole - (first + second) / 2


def own(first: float, second: float) -> float:
    """Standard deviation of a FID by its samples alone: a half's is |difference| / sqrt 2, all of them have less."""
    return abs(first - second) / 2


def told(experiment: Experiment, known: Records) -> str:
    """A paragraph on one-step FID; empty where nothing was measured by halves."""
    found = [h for record in known.values() if (h := halves(record)) and h[0] > 0]
    if not found:
        return ""
    noise = statistics.fmean((own(a, b) / whole) ** 2 for whole, a, b in found) ** 0.5
    bias = statistics.median((a + b) / 2 / whole - 1 for whole, a, b in found)
    best = min(found, key=lambda h: h[0])
    words = (
        f"One-step FID by half of its samples is {bias:+.1%} off in the median; without end of samples the lowest "
        f"cell's {number(best[0])} would be {number(extrapolated(*best))}. Which samples were drawn moves a cell's "
        f"FID by {noise:.1%} (one standard deviation, from halves over {len(found):,} cells)"
    )
    spreads = list(_between_seeds(experiment, known))
    seeds = (
        f"; seeds move it by {total**0.5:.1%}, which is {max(0.0, total - noise**2) ** 0.5:.1%} without that noise"
        if (total := statistics.fmean(s**2 for s in spreads) if spreads else 0.0)
        else ""
    )
    return words + seeds + "."


def _between_seeds(experiment: Experiment, known: Records) -> Iterator[float]:
    """Relative standard deviation over the seeds of each distinct row."""
    for keys in dict.fromkeys(row.keys for row in experiment.rows):
        values = [h[0] for key in keys if (h := halves(known.get(key)))]
        if len(values) > 1 and statistics.fmean(values) > 0:
            yield statistics.stdev(values) / statistics.fmean(values)
