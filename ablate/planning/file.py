"""The keys of an experiment file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Tag

from ablate.core import hint, yaml_files
from ablate.core.errors import Problems, SpecError, nearest
from ablate.core.section import FileName, Section, read_most
from ablate.planning.budgets import OWN, Times
from ablate.planning.plan_kinds import KINDS
from ablate.planning.seeds import SeedList, Seeds
from ablate.planning.tune import Tune

APART = {"summary", "seeds", "budgets", "claims", "tune"}  # recipes are the same without these keys


def _not_empty(plan: list[Any]) -> list[Any]:
    if not plan:
        raise ValueError(f"it is empty; {nearest('', KINDS)}")
    return plan


class File(Section):
    """The keys of an experiment file."""

    name: FileName
    plan: Annotated[list[dict[str, Any]], AfterValidator(_not_empty)]
    summary: str = ""
    profile: str = "digits"
    seeds: Annotated[
        Annotated[SeedList, Tag("list")] | Annotated[Seeds, Tag("range")],
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


def validated(content: dict[str, Any], file: Path, problems: Problems) -> File:
    """The content of a file, without the keys that are wrong if its rows and claims can be checked without them.

    Args:
        problems: gets the mistakes in the keys.
    Raises:
        SpecError: all mistakes in the keys, if rows need one of the wrong ones.
    """
    if _is_study(content):
        study = hint.command("study", file, keep=hint.WHOLE)
        raise SpecError(f"{file}: search: this is a study, for {study}; an experiment has `plan`")
    made = read_most(File, content, str(file), APART, problems)
    if isinstance(made.seeds, Seeds) and not content.get("claims"):
        problems.add(f"{file}: seeds.until: there are no claims to decide")
    wrong = content.keys() - made.model_fields_set
    if wrong & {"seeds", "tune"}:  # which seeds a search may have depends on the others
        untuned = [claim for claim in made.claims if not claim.get("tuned")]
        made = made.model_copy(update={"tune": None, "claims": untuned})
    return made
