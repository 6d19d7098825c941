"""Rows before they are built, and what the plan kinds share: the planner, the two ends of a way, labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ablate.config.profile import Profile
from ablate.config.recipe import Specs
from ablate.core import yaml_files
from ablate.core.errors import Problems, SpecError, nearest
from ablate.core.registry import AXES
from ablate.core.typed import text_of


@dataclass(frozen=True)
class Draft:
    """A row before it is built: its specs, and the specs that it is compared with."""

    label: str
    section: str
    specs: Specs
    base: str
    against: Specs
    priority: int = 0  # rows with a higher one are left out first by --max-hours
    levels: Mapping[str, int] = field(default_factory=dict)  # of a factorial: axis -> -1 (from) or 1 (to)
    named: tuple[str, ...] = ()  # the keys that the file sets in this row


class Planner(Protocol):
    """The part of the planner that plan kinds use."""

    profile: Profile
    notes: list[str]
    problems: Problems  # of single rows: the other rows are still read
    default_base: str

    def recipe_specs(self, name: Any, path: str) -> Specs:
        """The specs of a recipe as its file has them."""

    def resolved(self, name: Any, row: Mapping[str, Any], path: str) -> Specs:
        """The specs of a row: the recipe, then the profile's adapt, the file's set, the row's set and --set."""


def format_overrides(overrides: Mapping[str, Any]) -> str:
    """Overrides as a label: `metric.c=0.3, teacher=none`."""

    def format_value(value: Any) -> str:
        if isinstance(value, Mapping):
            rest = ", ".join(f"{k}={v}" for k, v in value.items() if k != "name")
            return f"{value.get('name')}({rest})" if rest else str(value.get("name"))
        if isinstance(value, float):  # shortened only where this is still the value, so that labels differ
            return short if float(short := f"{value:g}") == value else repr(float(value))
        return text_of(value) or str(value)

    return ", ".join(f"{k}={format_value(v)}" for k, v in overrides.items())


def ends(
    planner: Planner, value: Any, path: str, more: tuple[str, ...] = ()
) -> tuple[str, Specs, str, Specs]:
    """Labels and specs of the two recipes `from` and `to`, which must differ."""
    entry, known = yaml_files.mapping(value, path), ("from", "to", *more)
    problems = Problems()
    problems.add(*(f"{path}.{k}: unknown key; {nearest(k, known)}" for k in entry if k not in known))
    problems.add(
        *(
            f"{path}.{k}: needs a recipe; {nearest('', yaml_files.named('recipes'))}"
            for k in known[:2]
            if k not in entry
        )
    )
    problems.check()
    with problems:
        start = planner.resolved(entry["from"], {}, f"{path}.from")
    with problems:
        end = planner.resolved(entry["to"], {}, f"{path}.to")
    problems.check()
    raw = [planner.recipe_specs(entry[side], path) for side in ("from", "to")]
    if raw[0] == raw[1]:
        raise SpecError(
            f"{path}: {entry['from']} and {entry['to']} are equal in every axis; choose two that differ"
        )
    same = [a for a in AXES if raw[0][a] != raw[1][a] and start[a] == end[a]]
    if same:
        planner.notes.append(
            f"{path}: no row for {', '.join(same)}: {planner.profile.name} or set gives both recipes the same value"
        )
    return label_of(entry["from"]), start, label_of(entry["to"]), end


def label_of(recipe: Any) -> str:
    """What a page and a claim call a recipe: its name, or that of its file without the ending."""
    path = Path(str(recipe))
    return path.stem if path.suffix in (".yaml", ".yml") else str(recipe)


def format_change(axis: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The change of one axis as text: the new option, or the changed fields of the same option."""
    if before["name"] != after["name"]:
        return f"{axis}={after['name']}"
    return format_overrides({f"{axis}.{f}": v for f, v in after.items() if before.get(f) != v})
