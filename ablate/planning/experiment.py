"""A planned experiment: rows of cells, and the claims that they test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablate.config.profile import Profile
from ablate.core import crashes
from ablate.core.errors import SpecError
from ablate.planning import budgets
from ablate.planning.cells import Cell, Row, read_by
from ablate.planning.claims import Claim
from ablate.planning.tune import Tuning


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
    # interim analyses and the final one; each tests all claims, so each can give a false positive
    analyses: int = 1
    more_seeds: tuple[int, ...] = ()  # may be added until the claims are decided
    origin: Origin = field(default_factory=Origin)
    left_out: tuple[Row, ...] = ()  # rows of the file that this command does not compute
    # times the profile's images, smallest first; empty: only the profile's own
    budgets: tuple[float, ...] = ()
    tuning: Tuning | None = None

    @property
    def needed(self) -> dict[str, Cell]:
        """The cells that are in no row but that others read, each before those that read it."""
        return {key: cell for key, cell in read_by(self.cells.values()).items() if key not in self.cells}

    @property
    def all_cells(self) -> dict[str, Cell]:
        """The needed cells, then those of rows."""
        return {**self.needed, **self.cells}

    def labels(self) -> dict[str, str]:
        """Key -> the label of the first row with this cell; of a needed one its recipe and the row that needs it."""
        found = {key: row.named for row in reversed(self.rows) for key in row.keys}

        def name(cell: Cell, label: str) -> None:
            for axis, need in cell.needs.items():
                recipe = getattr(cell.recipe, axis).needs().recipe
                found.setdefault(need.key, f"{recipe} for {label}")
                name(need, found[need.key])

        for key, cell in self.cells.items():
            name(cell, found.get(key, key))
        return found

    @contextlib.contextmanager
    def mistakes_of(self, cell: Cell) -> Iterator[None]:
        """A block whose mistakes are those of a cell: they name the file and the row."""
        try:
            yield
        except Exception as error:
            place = f"{self.file}: row {self.labels().get(cell.key, cell.key)!r}"
            if isinstance(error, SpecError):
                raise error.under(place) from None
            if by := crashes.raised_by(error):  # code of yours
                raise SpecError(f"{place}: {by}: {crashes.described(error)}") from error
            raise

    def cell(self, row: Row, seed: int) -> Cell:
        """The cell of a row with any seed."""
        some = next(iter(self.cells.values()))
        shared = (seed, some.fingerprint, some.imports, row.needs)
        return Cell.of(row.recipe, self.profile_of(row), *shared)

    def profile_of(self, row: Row) -> Profile:
        """The profile with the row's number of images."""
        return budgets.scaled(self.profile, row.budget)

    def at(self, budget: float) -> Experiment:
        """The rows of one budget, as an experiment on a profile with that many images."""
        rows = [row for row in self.rows if row.budget == budget]
        cells = {key: self.cells[key] for row in rows for key in row.keys}
        profile, own = budgets.scaled(self.profile, budget), [_alone(row) for row in rows]
        left_out = tuple(_alone(row) for row in self.left_out if row.budget == budget)
        return replace(self, profile=profile, rows=own, cells=cells, left_out=left_out, budgets=())

    def by_budget(self) -> list[Experiment]:
        """The experiments of all budgets, smallest first."""
        return [self.at(budget) for budget in self.budgets] or [self]

    def places(self, chosen: Callable[[Experiment], Collection[int]]) -> set[int]:
        """Indices of the rows that `chosen` picks from the experiment of each budget.

        Raises:
            SpecError: as `chosen`.
        """
        found = set[int]()
        for budget, part in zip(self.budgets or budgets.OWN, self.by_budget(), strict=True):
            at = [i for i, row in enumerate(self.rows) if row.budget == budget]
            found |= {at[i] for i in chosen(part)}
        return found

    def only(self, rows: Sequence[Row]) -> Experiment:
        """A copy with only these rows and their cells, and its own list of notes."""
        keys = {key for row in rows for key in row.keys}
        cells = {key: cell for key, cell in self.cells.items() if key in keys}
        left_out = (*self.left_out, *(row for row in self.rows if row not in rows))
        return replace(self, rows=[*rows], cells=cells, notes=[*self.notes], left_out=left_out)


def _alone(row: Row) -> Row:
    """The row on a profile with its number of images."""
    return replace(row, budget=1.0, tuned=row.tuned and replace(row.tuned, budget=1.0))


def answering(claim: Claim, experiment: Experiment) -> set[int]:
    """Indices of the rows that a claim compares, in an experiment of one budget.

    Raises:
        SpecError: there are none.
    """
    return claim.rows(experiment.rows, experiment.base)


def listing(experiment: Experiment) -> dict[str, Any]:
    """`--dry-run --json`: rows with their recipes and a key for each seed, totals."""
    rows = [
        {"row": r.label, "section": r.section, "changed": dict(r.changed), "keys": list(r.keys)}
        | {"recipe": r.recipe.flat()}
        | ({"budget": r.budget, "steps": experiment.profile_of(r).steps} if experiment.budgets else {})
        for r in experiment.rows
    ]
    profile, cells = experiment.profile, experiment.all_cells.values()
    images = sum(cell.profile.steps * cell.profile.batch for cell in cells)
    total = {"cells": len(cells), "images": images, "steps": profile.steps}
    seeds = list(experiment.seeds)
    return {"name": experiment.name, "profile": profile.name, "seeds": seeds, "rows": rows, **total}


def overview(experiment: Experiment) -> str:
    """`--dry-run` for the terminal."""
    plain = listing(experiment)
    width = max(len(r.named) for r in experiment.rows)
    lines = [f"{r.section:<14}{r.named:<{width}}  {' '.join(r.keys)}" for r in experiment.rows]
    distinct = len({r.keys for r in experiment.by_budget()[-1].rows})
    steps = " or ".join(map(str, sorted({cell.profile.steps for cell in experiment.all_cells.values()})))
    head = (
        f"{plain['name']} on {plain['profile']}: {distinct} distinct recipes, {len(experiment.seeds)} seeds, "
    )
    others = f" ({len(experiment.needed)} of them for others to start from)" if experiment.needed else ""
    cost = f"{plain['cells']} cells{others} of {steps} steps, {plain['images']} images in all; nothing was trained"
    return "\n".join([head + cost, *lines])
