"""A planned experiment: rows of cells, and the claims that they test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablate.config.profile import Profile
from ablate.planning.cells import Cell, Row
from ablate.planning.claims import Claim


@dataclass(frozen=True)
class Origin:
    """What the command line chose for a file: its report is of this too.

    profile: a shipped profile's name, else the path of its file; empty: unknown.
    own: the file itself names this profile.
    """

    profile: str = ""
    own: bool = True
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Experiment:
    """A planned experiment file."""

    name: str
    file: Path
    summary: str
    profile: Profile
    seeds: tuple[int, ...]
    rows: list[Row] = field(default_factory=list)
    cells: dict[str, Cell] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    base: Mapping[str, Any] = field(default_factory=dict)  # the base recipe's flat fields
    analyses: int = (
        1  # interim analyses and the final one; each tests all claims, so each can give a false positive
    )
    more_seeds: tuple[int, ...] = ()  # may be added until the claims are decided
    origin: Origin = field(default_factory=Origin)
    left_out: tuple[Row, ...] = ()  # rows of the file that this command does not compute

    def only(self, rows: Sequence[Row]) -> Experiment:
        """A copy with only these rows and their cells, and its own list of notes."""
        keys = {key for row in rows for key in row.keys}
        cells = {key: cell for key, cell in self.cells.items() if key in keys}
        left_out = (*self.left_out, *(row for row in self.rows if row not in rows))
        return replace(self, rows=[*rows], cells=cells, notes=[*self.notes], left_out=left_out)


def listing(experiment: Experiment) -> dict[str, Any]:
    """`--dry-run --json`: rows with their recipes and a key for each seed, totals."""
    rows = [
        {"row": r.label, "section": r.section, "changed": dict(r.changed), "keys": list(r.keys)}
        | {"recipe": r.recipe.flat()}
        for r in experiment.rows
    ]
    profile, cells = experiment.profile, len(experiment.cells)
    total = {"cells": cells, "images": cells * profile.steps * profile.batch, "steps": profile.steps}
    seeds = list(experiment.seeds)
    return {"name": experiment.name, "profile": profile.name, "seeds": seeds, "rows": rows, **total}


def overview(experiment: Experiment) -> str:
    """`--dry-run` for the terminal."""
    plain = listing(experiment)
    width = max(len(r.label) for r in experiment.rows)
    lines = [f"{r.section:<14}{r.label:<{width}}  {' '.join(r.keys)}" for r in experiment.rows]
    distinct = len({r.keys for r in experiment.rows})
    head = (
        f"{plain['name']} on {plain['profile']}: {distinct} distinct recipes, {len(experiment.seeds)} seeds, "
    )
    cost = f"{plain['cells']} cells of {plain['steps']} steps, {plain['images']} images in all; nothing was trained"
    return "\n".join([head + cost, *lines])
