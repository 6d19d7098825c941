"""Metrics of samples, one module each. Records, tables and MLflow follow `METRICS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ablate.core import plugins
from ablate.core.lazy import torch


class Entry(BaseModel):
    """A value in a record and how it was measured. Values that were measured differently get separate columns.

    The samples took `nfe` evaluations of the network, at levels `sigmas`, with its EMA or raw weights. A metric may
    add its own fields: `std` of KID over subsets; `halves`, the FID of each half of the samples. `again`: measured
    later from the cell's weights, and shown only on request.
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
    again: bool | None = None


# with `nfe`, how an entry was measured: values that differ in one of these get separate columns
FACTS = "extractor", "n", "reference", "weights", "sigmas"


@dataclass(frozen=True)
class Features:
    """The features of samples and real images from one extractor.

    results: the metrics that torch-fidelity computed, under its names. The files are torch-fidelity's too: features of
    the samples and of the real images, and the mean and covariance of the real ones.
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
    """Read a file of torch-fidelity's cache. It is unpickled, because only this user writes to the cache."""
    return torch.load(file, map_location="cpu", weights_only=False)


@dataclass(frozen=True)
class Metric:
    """A metric of generated images.

    name: of the record's entries, of MLflow's metrics (`fid_1step`) and of columns in table.csv. compute: features ->
    `value` and further fields of the entry. columns: numbers of evaluations that always have a column in table.csv.
    fidelity: the flag of torch-fidelity that computes it; empty if `compute` needs none.
    """

    name: str
    compute: Callable[[Features], dict[str, Any]]
    columns: tuple[int, ...] = (1,)
    fidelity: str = ""

    def __post_init__(self) -> None:
        METRICS[self.name] = self


METRICS: dict[str, Metric] = {}
plugins.load(__name__, "ablate.metrics")


def of_training(record: Mapping[str, Any], metric: str) -> list[dict[str, Any]]:
    """A record's entries of a metric that were measured at the end of training, without those of `evaluate`.

    A metric that was added later has none. Then these are its entries that were measured as FID was at the end.
    """
    entries = record.get(metric) or []
    first = [entry for entry in entries if not entry.get("again")]
    if first or metric == "fid":
        return first
    ways = [_how(entry) for entry in of_training(record, "fid")]
    return [entry for entry in entries if _how(entry) in ways]


def _how(entry: Mapping[str, Any]) -> list[Any]:
    return [entry.get(fact) for fact in ("nfe", *FACTS)]
