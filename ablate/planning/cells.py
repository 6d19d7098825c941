"""A cell is one computation, a row of a table its cells over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate.config import recipe as recipes
from ablate.config.profile import Profile
from ablate.config.recipe import Recipe


@dataclass(frozen=True)
class Cell:
    """One computation: a recipe, what it is tried on, a seed. `key` hashes all that decides its numbers."""

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
    """A line of the table: its cells differ in the seed only."""

    label: str
    section: str  # the plan kind that made it
    recipe: Recipe
    changed: Mapping[str, Any]  # flat field -> value, against the section's first row or the base
    keys: tuple[str, ...]
    base: str = ""  # label of the row that it is a diff of
    priority: int = 0  # a higher one is left out first where hours are short
