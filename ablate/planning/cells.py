"""A cell is one computation; a row of a table is one recipe, with a cell per seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate.config import recipe as recipes
from ablate.config.profile import Profile
from ablate.config.recipe import Recipe


@dataclass(frozen=True)
class Cell:
    """One computation: a recipe, a profile and a seed. `key` hashes everything that its numbers depend on."""

    key: str
    recipe: Recipe
    profile: Profile
    seed: int
    fingerprint: str  # of the images
    imports: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, recipe: Recipe, profile: Profile, seed: int, fingerprint: str, imports: tuple[str, ...] = ()
    ) -> Cell:
        """The cell of a recipe and a seed, with its key."""
        budget = {**profile.keyed(), "fingerprint": fingerprint}
        budget["data"] = {k: v for k, v in budget["data"].items() if k not in ("path", "test_path")}
        return cls(recipes.key(recipe, budget, seed), recipe, profile, seed, fingerprint, imports)


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
