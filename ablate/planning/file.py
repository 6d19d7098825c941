"""The keys of an experiment file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from ablate.core import hint, yaml_files
from ablate.core.errors import Problems, SpecError, nearest
from ablate.core.section import FileName, Section, read
from ablate.planning.budgets import OWN, Times
from ablate.planning.plan_kinds import KINDS
from ablate.planning.tune import Tune


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


class File(Section):
    """The keys of an experiment file."""

    name: FileName
    plan: list[dict[str, Any]]
    summary: str = ""
    profile: str = "digits"
    seeds: Annotated[
        Annotated[list[int], Tag("list")] | Annotated[Seeds, Tag("range")],
        Discriminator(lambda value: "range" if isinstance(value, Mapping | Seeds) else "list"),
    ] = [0]
    base: str = "ict"
    budgets: Times = [*OWN]
    imports: list[str] = []
    set: dict[str, Any] = {}
    claims: list[dict[str, Any]] = []
    tune: Tune | None = None


def is_study(path: str | Path) -> bool:
    """Whether a file is a study, for `ablate study`, instead of an experiment.

    Raises:
        SpecError: no such file, or it is not a YAML mapping.
    """
    return _is_study(yaml_files.mapping(yaml_files.read(Path(path)), str(path)))


def _is_study(content: dict[str, Any]) -> bool:
    return "search" in content and "plan" not in content


def validated(content: dict[str, Any], file: Path) -> File:
    """The content of a file.

    Raises:
        SpecError: all mistakes in its keys together.
    """
    if _is_study(content):
        study = hint.command("study", file, keep=hint.WHOLE)
        raise SpecError(f"{file}: search: this is a study, for {study}; an experiment has `plan`")
    made = read(File, content, str(file))
    problems = Problems()
    if not made.plan:
        problems.add(f"{file}: plan: it is empty; {nearest('', KINDS)}")
    if isinstance(made.seeds, list):
        problems.add(*seed_problems(made.seeds, f"{file}: seeds"))
    elif not made.claims:
        problems.add(f"{file}: seeds.until: there are no claims to decide")
    if made.tune:
        problems.add(*seed_problems(made.tune.seeds, f"{file}: tune.seeds"))
    problems.check()
    return made


def seed_problems(seeds: Sequence[int], path: str) -> list[str]:
    """What is wrong with a list of seeds, each with `path`."""
    problems = [] if seeds else [f"{path}: needs at least one seed"]
    problems += [f"{path}: {s}: a seed is at least 0 and below 2^31" for s in seeds if not 0 <= s < 2**31]
    return problems + [
        f"{path}: {s} is listed twice" for s in sorted({s for s in seeds if list(seeds).count(s) > 1})
    ]
