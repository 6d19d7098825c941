"""Rows from drafts, with their cells: what the planner of a file and that of a tuned row's trials share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablate.config import recipe as recipes
from ablate.config.profile import Profile
from ablate.config.recipe import Recipe, Specs
from ablate.core import yaml_files
from ablate.core.errors import Problems, SpecError, nearest
from ablate.core.registry import AXES
from ablate.planning import budgets, needs, trainable
from ablate.planning.cells import Cell, Row
from ablate.planning.experiment import Experiment, Origin
from ablate.planning.unbuilt_rows import Draft


class Rows(ABC):
    """Adds rows with their cells to experiments.

    Args:
        file: errors name it, and recipes may be beside it.
        named: the fields that the file or the command line sets in every row.
        here: whether the images are at hand, so that recipes can be checked against them.
    """

    def __init__(
        self,
        file: Path,
        profile: Profile,
        seeds: tuple[int, ...],
        shape: tuple[int, int, int],
        imports: Sequence[str] = (),
        named: Collection[str] = (),
        here: bool = True,
    ):
        self.file, self.profile, self.seeds, self.shape = file, profile, seeds, shape
        self.imports, self.named, self.here = tuple(imports), {*named}, here
        self.known_specs, self.built = dict[str, Specs](), dict[str, Recipe]()
        self.notes, self.origin = list[str](), Origin()
        self.recipe_overrides: dict[str, Any] = {}  # of the command line, for every row

    @abstractmethod
    def fingerprint(self) -> str:
        """The fingerprint of the images."""

    @abstractmethod
    def resolved(self, name: Any, row: Mapping[str, Any], path: str) -> Specs:
        """The specs of a recipe with what a row changes in it."""

    def recipe_specs(self, name: Any, path: str) -> Specs:
        """The specs of a recipe as its file has them, with every default."""
        if not isinstance(name, str):
            raise SpecError(f"{path}: {name!r} is not a recipe; {nearest(name, yaml_files.named('recipes'))}")
        if name not in self.known_specs:
            self.known_specs[name] = recipes.build(recipes.read_specs(name, path, self.file)).specs()
        return self.known_specs[name]

    def add_row(self, draft: Draft, planned: Experiment, fingerprint: str, budget: float = 1.0) -> None:
        """Add a row and its cells to an experiment, with so many times the profile's images.

        Raises:
            SpecError: the recipe is invalid.
        """
        row, cells = self.row(draft, fingerprint, budget, self.seeds)
        planned.rows.append(row)
        planned.cells |= {cell.key: planned.cells.get(cell.key, cell) for cell in cells}

    def row(
        self, draft: Draft, fingerprint: str, budget: float, seeds: Sequence[int]
    ) -> tuple[Row, list[Cell]]:
        """A row with its cells; see `add_row`."""
        profile, named = budgets.scaled(self.profile, budget), self.named
        recipe = budgets.fitted(
            self._recipe(draft.specs, draft.label, profile), budget, {*named, *draft.named}
        )
        against = budgets.fitted(self._recipe(draft.against, draft.base, profile), budget, named)
        against = budgets.fitted(against, needs.own_share(needs.declared(against)), named)
        held = self._needs(recipe, draft.label, profile)
        recipe = budgets.fitted(recipe, needs.own_share(held), {*named, *draft.named})
        cells = [Cell.of(recipe, profile, seed, fingerprint, self.imports, held) for seed in seeds]
        keys = tuple(cell.key for cell in cells)
        changed = {k: new for k, (_, new) in recipes.diff(against, recipe).items()}
        changed = {k: v for k, v in changed.items() if k in recipe.flat()}
        row = Row(draft.label, draft.section, recipe, changed, keys, draft.base, draft.priority)
        return replace(row, budget=budget, levels=draft.levels, needs=held), cells

    def _needs(self, recipe: Recipe, label: str, profile: Profile) -> dict[str, needs.Needed]:
        def specs_of(name: Any, path: str) -> Specs:
            return adapted(self.recipe_specs(name, path), self.profile)

        try:
            return needs.resolve(recipe, profile, specs_of, self.shape)
        except SpecError as error:
            raise error.under(f"row {label!r}") from None

    def _recipe(self, specs: Specs, label: str, profile: Profile | None = None) -> Recipe:
        try:
            recipe = self._built(specs)
            trainable.check(recipe, profile or self.profile)
            return recipe
        except SpecError as error:
            raise error.under(f"row {label!r}") from None

    def _built(self, specs: Specs) -> Recipe:
        """The recipe for these images, built once for all budgets."""
        name = json.dumps(specs, sort_keys=True, default=repr)
        if name not in self.built:
            recipe = recipes.build(specs).for_images(self.shape)
            trainable.require(recipe, self.profile if self.here else None, self.shape)
            self.built[name] = recipe
        return self.built[name]


def adapted(specs: Specs, profile: Profile) -> Specs:
    """`specs` with the fields of the profile's adapt that their options have.

    Raises:
        SpecError: a field that no option of the axis has.
    """
    adapt, problems = profile.adapt, Problems()
    for key in (k for k in adapt if "." in k):
        axis, name = key.split(".", 1)
        known = AXES[axis].options if axis in AXES else {}
        if not any(name in AXES[axis].fields(option) for option in known):
            problems.add(f"profile: adapt.{key}: no option has this field")
    problems.check()
    options = {k: v for k, v in adapt.items() if "." not in k}
    try:
        specs = recipes.overlay(specs, options)
        fields = {k: v for k, v in adapt.items() if "." in k and k.split(".", 1)[1] in _fields(specs, k)}
        return recipes.overlay(specs, fields)
    except SpecError as error:
        raise error.under("profile: adapt") from None


def _fields(specs: Specs, key: str) -> Mapping[str, Any]:
    axis = key.split(".", 1)[0]
    return AXES[axis].fields(specs[axis]["name"])
