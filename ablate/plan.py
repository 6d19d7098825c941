"""An experiment file as cells: every row a recipe, every recipe times every seed, equal cells once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablate import data, documents, evaluate
from ablate import recipe as recipes
from ablate.profile import Profile, Section, explain, load_profile
from ablate.recipe import Recipe, Specs
from ablate.registry import AXES, Problems, SpecError, nearest
from ablate.rows import KINDS, Draft


@dataclass(frozen=True)
class Cell:
    """One computation: a recipe, what it is tried on, a seed. `key` hashes all that decides its numbers."""

    key: str
    recipe: Recipe
    profile: Profile
    seed: int
    fingerprint: str  # of the images
    imports: tuple[str, ...] = ()


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


class File(Section):
    """The keys of an experiment file."""

    name: str
    plan: list[dict[str, Any]]
    summary: str = ""
    profile: str = "digits"
    seeds: list[int] = [0]
    base: str = "ict"
    imports: list[str] = []
    set: dict[str, Any] = {}


def load(
    path: str | Path,
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
) -> Experiment:
    """Plan the experiment file at `path`.

    Args:
        profile: another profile than the file names.
        overrides: dotted `--set` values; those under `profile.` change the profile.
        seeds: other seeds than the file names.
    Raises:
        SpecError: all mistakes of the file at once, each with path, value and nearest right word.
    """
    file = Path(path)
    content = _checked(documents.mapping(documents.read(file), str(file)), file)
    try:
        recipes.load_plugins(content.imports, file)
        return Planner(file, content, profile, dict(overrides or {}), seeds).experiment()
    except SpecError as error:
        raise error.under(str(file)) from None


def _checked(content: dict[str, Any], file: Path) -> File:
    if "search" in content and "plan" not in content:
        raise SpecError(f"{file}: search: this is a study file, for `ablate study`; an experiment has `plan`")
    try:
        checked = File.model_validate(content, strict=True)
    except ValidationError as error:
        raise explain(error, str(file), File) from None
    problems = Problems()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", checked.name):
        problems.add(f"{file}: name: {checked.name!r}: letters, digits, '_', '-' and '.' only, at most 100")
    if not checked.plan:
        problems.add(f"{file}: plan: it is empty; {nearest('', KINDS)}")
    problems.add(*_seed_problems(checked.seeds, f"{file}: seeds"))
    problems.check()
    return checked


def _seed_problems(seeds: Sequence[int], path: str) -> list[str]:
    found = [] if seeds else [f"{path}: at least one is needed"]
    found += [f"{path}: {s}: a seed is at least 0 and below 2^31" for s in seeds if not 0 <= s < 2**31]
    return found + [
        f"{path}: {s} stands twice" for s in sorted({s for s in seeds if list(seeds).count(s) > 1})
    ]


class Planner:
    """Resolves recipes in the order of precedence: option default, recipe, adapt, file's set, row's set, --set."""

    def __init__(
        self,
        file: Path,
        content: File,
        profile: str | None,
        overrides: dict[str, Any],
        seeds: Sequence[int] | None,
    ):
        self.file, self.content, self.default_base = file, content, content.base
        self.problems, self.notes = Problems(), list[str]()
        self.last = {k: v for k, v in overrides.items() if not k.startswith("profile.")}
        for_profile = {
            k.removeprefix("profile."): v for k, v in overrides.items() if k.startswith("profile.")
        }
        self.profile = load_profile(profile or content.profile, for_profile, file)
        self.seeds = tuple(seeds if seeds is not None else content.seeds)
        self.problems.add(*_seed_problems(self.seeds, "--seeds"))
        with self.problems:
            evaluate.check(self.profile.evaluation.extractor)
        self.shape = image_shape(self.profile)
        self.raw: dict[str, Specs] = {}

    def experiment(self) -> Experiment:
        drafts = [
            draft for i, entry in enumerate(self.content.plan) for draft in self._entry(entry, f"plan[{i}]")
        ]
        c = self.content
        planned = Experiment(c.name, self.file, c.summary, self.profile, self.seeds, notes=self.notes)
        fingerprint = data.fingerprint(self.profile.data) if not self.problems.found else ""
        for draft in drafts:
            with self.problems:
                self.place(draft, planned, fingerprint)
        self.problems.check()
        return planned

    def place(self, draft: Draft, planned: Experiment, fingerprint: str) -> None:
        """Add a row and its cells to an experiment.

        Raises:
            SpecError: there can be no such recipe.
        """
        recipe = self._recipe(draft.specs, draft.label)
        budget = {**self.profile.deciding(), "fingerprint": fingerprint}
        budget["data"] = {k: v for k, v in budget["data"].items() if k not in ("path", "test_path")}
        keys = []
        for seed in self.seeds:
            key = recipes.key(recipe, budget, seed)
            cell = Cell(key, recipe, self.profile, seed, fingerprint, tuple(self.content.imports))
            planned.cells.setdefault(key, cell)
            keys.append(key)
        changed = {
            k: new for k, (_, new) in recipes.diff(self._recipe(draft.against, draft.base), recipe).items()
        }
        changed = {k: v for k, v in changed.items() if k in recipe.flat()}
        row = Row(draft.label, draft.section, recipe, changed, tuple(keys), draft.base, draft.priority)
        planned.rows.append(row)

    def _recipe(self, specs: Specs, label: str) -> Recipe:
        try:
            recipe = recipes.build(specs).for_images(self.shape)
            recipe.curriculum(0, self.profile.steps)  # some curricula need a least number of steps
            for part in recipe.parts().values():  # weights from elsewhere: said now, not by the worker
                getattr(part, "require", lambda: None)()
            return recipe
        except SpecError as error:
            raise error.under(f"row {label!r}") from None

    def _entry(self, entry: dict[str, Any], path: str) -> list[Draft]:
        with self.problems:
            entry = dict(entry)
            priority = entry.pop("priority", 0)
            if isinstance(priority, bool) or not isinstance(priority, int):
                raise SpecError(f"{path}.priority: a whole number is needed here, but got {priority!r}")
            if len(entry) != 1:
                raise SpecError(
                    f"{path}: one of {', '.join(KINDS)} is needed here, but got {sorted(map(str, entry))}"
                )
            kind, value = next(iter(entry.items()))
            if kind not in KINDS:
                raise SpecError(f"{path}: no plan kind {kind!r}; {nearest(kind, KINDS)}")
            drafts = KINDS[kind](self, value, f"{path}.{kind}")
            return [replace(draft, priority=priority) for draft in drafts]
        return []

    def named(self, name: Any, path: str) -> Specs:
        """A recipe's specs as its file has them, every default written out."""
        if not isinstance(name, str):
            raise SpecError(f"{path}: {name!r} names no recipe; {nearest(name, documents.named('recipes'))}")
        if name not in self.raw:
            self.raw[name] = recipes.build(recipes.read_specs(name, path, self.file)).specs()
        return self.raw[name]

    def resolved(self, name: Any, row: Mapping[str, Any], path: str) -> Specs:
        """Specs of a row: recipe, adapt, the file's set, the row's set, --set."""
        specs, adapt = self.named(name, path), self.profile.adapt
        layers = ((self.content.set, "set"), (row, path), (self.last, "--set"))
        specs = adapted(specs, self.profile)
        for layer, place in layers:
            try:
                specs = recipes.overlay(specs, layer, adapt)
            except SpecError as error:
                raise error.under(place) from None
        self._tell(row, adapt, path)
        return specs

    def _tell(self, row: Mapping[str, Any], adapt: Mapping[str, Any], path: str) -> None:
        for key in row:
            if key in adapt:
                note = f"{path}: {key} is what profile {self.profile.name} adapts; the row's value is used"
                self.notes += [note] if note not in self.notes else []


def adapted(specs: Specs, profile: Profile) -> Specs:
    """`specs` with the profile's fields where the option has them; a field that no option has is an error."""
    adapt, problems = profile.adapt, Problems()
    for key in (k for k in adapt if "." in k):
        axis, name = key.split(".", 1)
        known = AXES[axis].options if axis in AXES else {}
        if not any(name in AXES[axis].fields(option) for option in known):
            problems.add(f"profile: adapt.{key}: no option has this field")
    problems.check()
    fits = {k: v for k, v in adapt.items() if "." not in k}
    specs = recipes.overlay(specs, fits)
    having = {k: v for k, v in adapt.items() if "." in k and k.split(".", 1)[1] in _fields(specs, k)}
    return recipes.overlay(specs, having)


def _fields(specs: Specs, key: str) -> Mapping[str, Any]:
    axis = key.split(".", 1)[0]
    return AXES[axis].fields(specs[axis]["name"])


def image_shape(profile: Profile) -> tuple[int, int, int]:
    """(C, H, W) of the profile's images."""
    return data.shape(profile.data)


def listing(experiment: Experiment) -> dict[str, Any]:
    """`--dry-run --json`: rows with their keys, cells with what they cost."""
    rows = [
        {"row": r.label, "section": r.section, "changed": dict(r.changed), "keys": list(r.keys)}
        for r in experiment.rows
    ]
    cells = [{"key": c.key, "seed": c.seed, "recipe": c.recipe.flat()} for c in experiment.cells.values()]
    profile = experiment.profile
    total = {
        "cells": len(cells),
        "images": len(cells) * profile.steps * profile.batch,
        "steps": profile.steps,
    }
    return {"name": experiment.name, "profile": profile.name, "rows": rows, "cells": cells, **total}


def overview(experiment: Experiment) -> str:
    """`--dry-run` for a terminal."""
    plain = listing(experiment)
    width = max(len(r.label) for r in experiment.rows)
    lines = [f"{r.section:<14}{r.label:<{width}}  {' '.join(r.keys)}" for r in experiment.rows]
    distinct = len({r.keys for r in experiment.rows})
    head = (
        f"{plain['name']} on {plain['profile']}: {distinct} distinct recipes, {len(experiment.seeds)} seeds, "
    )
    cost = f"{plain['cells']} cells of {plain['steps']} steps, {plain['images']} images in all; nothing was trained"
    return "\n".join([head + cost, *lines])
