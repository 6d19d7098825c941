"""The key `tune`: every distinct row gets its own values of some fields, found by equally many trials on other seeds.

What came out of a row's trials is a plain file, so that Optuna is not needed to plan or to report tuned rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from ablate.config.profile import Profile
from ablate.core.errors import SpecError
from ablate.core.section import Section
from ablate.planning.budgets import scaled
from ablate.planning.seeds import SeedList

FOLDER, BESIDE = "tuning", "tuning.json"  # of the runs directory, and beside a report
EDGE = 0.05  # of a range: where the best value lies nearer to an end, a wider range may have a better one


class Range(Section):
    """The numbers between two ends."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low < high must hold, but got low={self.low}, high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range needs low > 0, not {self.low}")
        if self.step is not None and (self.log or self.step <= 0):
            raise ValueError("a step is above 0, and a logarithmic range has none")
        return self


def _range_or_values(value: Any) -> Any:
    if not isinstance(value, list | Mapping | Range):
        raise ValueError(f"needs {{low, high}}, {{low, high, log: true}} or a list of values, not {value!r}")
    return value


def _distinct(values: list[Any]) -> list[Any]:
    if len(values) < 2 or len({repr(v) for v in values}) < len(values):
        raise ValueError(f"needs at least two values, each once, not {values}")
    return values


Values = Annotated[list[bool | int | float | str], AfterValidator(_distinct)]
Searched = Annotated[
    Annotated[Values, Tag("list")] | Annotated[Range, Tag("range")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "range"),
    BeforeValidator(_range_or_values),
]


class Tune(Section):
    """The keys of `tune`: how the fields in `search` are chosen for each row."""

    search: Annotated[dict[str, Searched], Field(min_length=1)]
    trials: Annotated[int, Field(ge=1, le=10**4)] = 8  # of each distinct row
    seeds: SeedList = [100]  # a trial's FID is the mean over them; none of them is reported
    images: Annotated[float, Field(gt=0, le=1)] = 1.0  # of a trial, as a share of the profile's
    sampler: str | dict[str, Any] = "TPESampler"
    pruner: str | dict[str, Any] = "NopPruner"

    @property
    def space(self) -> dict[str, Any]:
        """`search` as plain data."""
        return {
            name: value.model_dump(exclude_none=True) if isinstance(value, Range) else value
            for name, value in self.search.items()
        }

    def profile(self, profile: Profile) -> Profile:
        """The profile of a trial of a row on this one, in whole batches."""
        return scaled(profile, self.images)


class Tried(Section):
    """A trial."""

    number: int
    state: str  # complete, pruned, fail, running
    params: dict[str, Any]
    value: float | None
    keys: list[str]
    reason: str = ""


class Found(Section):
    """What came out of a row's study: the content of its file, but for `best`, which is there for you to read."""

    id: str
    row: str
    images: int
    seeds: list[int]
    search: dict[str, Any]
    trials: int
    sampler: Any
    pruner: Any
    complete: bool
    tried: list[Tried]

    @property
    def ended(self) -> list[Tried]:
        """The trials that have ended."""
        return [trial for trial in self.tried if trial.state != "running"]

    @property
    def best(self) -> Tried | None:
        """The trial with the lowest FID; None if no trial is complete."""
        complete = [(t.value, t.number, t) for t in self.ended if t.value is not None]
        return min(complete)[2] if complete else None

    def plain(self) -> dict[str, Any]:
        """The content of its file."""
        return {**self.model_dump(mode="json"), "best": self.best and self.best.model_dump(mode="json")}


@dataclass(frozen=True)
class Tuning:
    """The `tune` of an experiment, and what is recorded of its studies by their ids. profile: of a trial."""

    tune: Tune
    profile: Profile
    shape: tuple[int, int, int]  # (C, H, W) of the images
    found: Mapping[str, Found] = field(default_factory=dict)


def with_options(content: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A file's content with what `--tune` and `--set tune.KEY` change in it."""
    own = {k.removeprefix("tune."): v for k, v in overrides.items() if k.startswith("tune.")}
    if not own or not isinstance(content.get("tune") or {}, dict):
        return content
    tune = dict(content.get("tune") or {})
    if not tune and not any(key.startswith("search") for key in own):
        typed = {"trials": "--trials", "seeds": "--tuning-seeds"}
        names = ", ".join(typed.get(key, f"--set tune.{key}") for key in own)
        raise SpecError(f"{names}: no row is tuned; add --tune FIELD=LOW..HIGH[:log], or `tune` to the file")
    for key, value in own.items():
        name = key.removeprefix("search.")
        if name == key:
            tune[key] = value
        elif isinstance(search := tune.get("search", {}), dict):
            tune["search"] = {**search, name: value}
    return {**content, "tune": tune}


def file(runs: Path, identity: str) -> Path:
    """The file with what came out of a study."""
    return runs / FOLDER / f"{identity}.json"


def at_edge(value: Any, searched: Any) -> bool:
    """Whether a value lies within 5 % of an end of what was searched, in the scale of the search."""
    if isinstance(searched, list):
        numbers = [v for v in searched if isinstance(v, int | float) and not isinstance(v, bool)]
        return len(numbers) == len(searched) > 2 and value in (min(numbers), max(numbers))
    scale = math.log if searched.get("log") else float
    low, high, at = scale(searched["low"]), scale(searched["high"]), scale(value)
    return min(at - low, high - at) <= EDGE * (high - low)


def last_tried(value: Any, tried: Sequence[Any]) -> bool:
    """Whether no smaller or no larger number than this value was among at least three that were tried."""
    numbers = {v for v in tried if isinstance(v, int | float) and not isinstance(v, bool)}
    return len(numbers) > 2 and value in (min(numbers), max(numbers))
