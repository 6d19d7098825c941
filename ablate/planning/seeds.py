"""The seeds of a file: a list, or as many as its claims need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ablate.core.section import Section


def seed_problems(seeds: Sequence[int]) -> list[str]:
    """What is wrong with a list of seeds."""
    problems = [] if seeds else ["needs at least one seed"]
    problems += [f"{s}: a seed is at least 0 and below 2^31" for s in seeds if not 0 <= s < 2**31]
    return problems + [f"{s} is listed twice" for s in sorted({s for s in seeds if list(seeds).count(s) > 1})]


def _checked(seeds: list[int]) -> list[int]:
    if problems := seed_problems(seeds):
        raise ValueError("; ".join(problems))
    return seeds


SeedList = Annotated[list[int], AfterValidator(_checked)]


class Seeds(Section):
    """Seeds 0, 1, ...: `min` for every row, then more for rows of undecided claims, up to `max`."""

    min: Annotated[int, Field(ge=1)]
    max: Annotated[int, Field(ge=1, le=1000)]
    until: Literal["decided"]

    @model_validator(mode="after")
    def _ordered(self) -> Seeds:
        if self.min > self.max:
            raise ValueError(f"min <= max must hold, but got min={self.min}, max={self.max}")
        return self
