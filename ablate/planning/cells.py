"""A cell is one computation; a row of a table is one recipe, with a cell per seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ablate.config import recipe as recipes
from ablate.config.profile import Profile
from ablate.config.recipe import Recipe
from ablate.planning import needs as needed
from ablate.planning.needs import Needed


@dataclass(frozen=True)
class Cell:
    """One computation: a recipe, a profile and a seed. `key` hashes everything that its numbers depend on."""

    key: str
    recipe: Recipe
    profile: Profile
    seed: int
    fingerprint: str  # of the images
    imports: tuple[str, ...] = ()
    needs: Mapping[str, Cell] = field(default_factory=dict)  # axis -> the cell that its option reads

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        profile: Profile,
        seed: int,
        fingerprint: str,
        imports: tuple[str, ...] = (),
        needs: Mapping[str, Needed] | None = None,
    ) -> Cell:
        """The cell of a recipe and a seed, with its key.

        Args:
            profile: a cell that needs others may have a part of its images only.
            needs: the resolved recipes that its options need.
        """
        own, given = needed.parts(profile, needs or {})
        shared = (seed, fingerprint, imports)
        held = {axis: cls.of(n.recipe, given[axis], *shared, n.needs) for axis, n in (needs or {}).items()}
        return cls("", recipe, own, *shared, held).at(seed)

    @property
    def images_in_all(self) -> int:
        """The images that it is trained on, with those of the cells that it reads."""
        return sum(cell.profile.steps * cell.profile.batch for cell in [self, *read_by([self]).values()])

    def at(self, seed: int) -> Cell:
        """This cell with another seed, or as the code and the files are now."""
        needs = {axis: cell.at(seed) for axis, cell in self.needs.items()}
        budget = {**self.profile.keyed(), "fingerprint": self.fingerprint}
        budget["data"] = {k: v for k, v in budget["data"].items() if k not in ("path", "test_path")}
        budget |= {"needs": {axis: cell.key for axis, cell in needs.items()}} if needs else {}
        return replace(self, key=recipes.key(self.recipe, budget, seed), seed=seed, needs=needs)


def read_by(cells: Iterable[Cell]) -> dict[str, Cell]:
    """The cells that some cells need, by key, each before those that need it."""
    found = dict[str, Cell]()
    for cell in cells:
        for need in cell.needs.values():
            found |= {**read_by([need]), need.key: need}
    return found


@dataclass(frozen=True)
class Row:
    """A row of the table; its cells differ only in the seed."""

    label: str
    section: str  # the plan kind that made it
    recipe: Recipe
    changed: Mapping[str, Any]  # flat field -> value where it differs from row `base`
    keys: tuple[str, ...]
    base: str = ""  # label of the row or recipe that `changed` refers to
    priority: int = 0  # rows with a higher one are left out first by --max-hours
    tuned: Row | None = None  # the row that this one is with its best values; see `ablate.planning.tuning`
    levels: Mapping[str, int] = field(default_factory=dict)  # of a factorial: axis -> -1 (from) or 1 (to)
    budget: float = 1.0  # times the profile's images
    needs: Mapping[str, Needed] = field(default_factory=dict)  # axis -> the recipe that its option needs
    # with `tune` at another budget: this row with the profile's own images, which is searched
    own: Row | None = None

    @property
    def named(self) -> str:
        """The label, with the budget if it is not the profile's own."""
        return self.label if self.budget == 1 else f"{self.label}, {times(self.budget)}"

    @property
    def written(self) -> Row:
        """The row as the file has it, without tuned values."""
        return self.tuned or self


def bases(rows: Sequence[Row], flats: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """For each row its base: the row of that name from which it differs only in what it changed."""
    named: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        for name in {row.label} if row.changed else {row.label, row.base}:
            named[name].append(i)

    def base(i: int) -> int | None:
        row, flat = rows[i], flats[i]
        fits = [
            j
            for j in named[row.base]
            if rows[j].budget == row.budget
            if row.changed and {k for k, v in flat.items() if flats[j].get(k) != v} == set(row.changed)
        ]
        return min(fits, key=lambda j: (rows[j].section != row.section, j >= i, abs(i - j)), default=None)

    return [base(i) for i in range(len(rows))]


def times(budget: float) -> str:
    """A budget in words."""
    return f"{budget:g} times the images"
