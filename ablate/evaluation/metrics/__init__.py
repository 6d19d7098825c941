"""What samples are measured by: one module per metric. Records, tables and MLflow follow `METRICS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ablate.core import plugins
from ablate.core.lazy import torch


class Entry(BaseModel):
    """A value in a record, and how it was measured. Values that were measured differently never share a column.

    The samples took `nfe` evaluations of the network, at levels `sigmas`, with its EMA or raw weights. A metric may
    add fields of its own: `std` of KID over subsets, `halves`, the FID of either half of the samples.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")
    nfe: Annotated[int, Field(ge=1)]
    value: float
    n: int | None = None
    extractor: str | None = None
    reference: str | None = None
    sigmas: list[float] | None = None
    weights: Literal["ema", "raw"] | None = None
    std: float | None = None
    halves: list[float] | None = None


@dataclass(frozen=True)
class Features:
    """Samples and real images as one extractor sees them.

    results: what torch-fidelity computed, by its own names. The files are its own too: features of either side, mean
    and covariance of the real ones.
    """

    results: Mapping[str, float]
    sampled_file: Path
    real_file: Path
    statistics_file: Path

    @property
    def sampled(self) -> Any:
        """Features of the samples, a tensor (n, D)."""
        return cached(self.sampled_file)

    @property
    def real(self) -> Any:
        """Features of the real images, a tensor (m, D)."""
        return cached(self.real_file)


def cached(file: Path) -> Any:
    """What torch-fidelity put into its cache; read by pickle, as the cache is this user's own."""
    return torch.load(file, map_location="cpu", weights_only=False)


@dataclass(frozen=True)
class Metric:
    """A metric of generated images.

    name: of the record's entries, of MLflow's metrics (`fid_1step`) and of columns in table.csv. compute: features ->
    `value`, and further fields of the entry. columns: numbers of evaluations that have a column in table.csv even if
    nothing is measured. fidelity: the flag of torch-fidelity that computes it, empty if `compute` needs none.
    """

    name: str
    compute: Callable[[Features], dict[str, Any]]
    columns: tuple[int, ...] = (1,)
    fidelity: str = ""

    def __post_init__(self) -> None:
        METRICS[self.name] = self


METRICS: dict[str, Metric] = {}
plugins.load(__name__, "ablate.metrics")
