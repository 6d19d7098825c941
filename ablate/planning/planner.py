"""An experiment file as cells: every row a recipe, every recipe times every seed, equal cells once."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from ablate.config import recipe as recipes
from ablate.config.profile import Profile, load_profile
from ablate.config.recipe import Recipe, Specs
from ablate.core import yaml_files
from ablate.core.errors import Problems, SpecError, nearest
from ablate.core.registry import AXES
from ablate.core.section import Section, explain
from ablate.data import datasets
from ablate.evaluation import evaluate
from ablate.planning import claims
from ablate.planning.cells import Cell, Row
from ablate.planning.experiment import Experiment
from ablate.planning.plan_kinds import KINDS, Draft


class Seeds(Section):
    """Seeds 0, 1, ...: `min` of them, then more for the rows of undecided claims, `max` at most."""

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

    name: str
    plan: list[dict[str, Any]]
    summary: str = ""
    profile: str = "digits"
    seeds: Annotated[
        Annotated[list[int], Tag("list")] | Annotated[Seeds, Tag("range")],
        Discriminator(lambda value: "range" if isinstance(value, Mapping | Seeds) else "list"),
    ] = [0]
    base: str = "ict"
    imports: list[str] = []
    set: dict[str, Any] = {}
    claims: list[dict[str, Any]] = []


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
    content = _checked(yaml_files.mapping(yaml_files.read(file), str(file)), file)
    try:
        recipes.load_plugins(content.imports, file)
        return Planner(file, content, profile, dict(overrides or {}), seeds).experiment()
    except SpecError as error:
        raise error.under(str(file)) from None


def searches(path: str | Path) -> bool:
    """Whether a file is a study, for `ablate study`, and no experiment.

    Raises:
        SpecError: no such file, or no YAML mapping.
    """
    return _searches(yaml_files.mapping(yaml_files.read(Path(path)), str(path)))


def _searches(content: dict[str, Any]) -> bool:
    return "search" in content and "plan" not in content


def _checked(content: dict[str, Any], file: Path) -> File:
    if _searches(content):
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
    if isinstance(checked.seeds, list):
        problems.add(*_seed_problems(checked.seeds, f"{file}: seeds"))
    elif not checked.claims:
        problems.add(f"{file}: seeds.until: there are no claims to be decided")
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
        self.original = not profile or profile == content.profile  # another's adapt may make rows equal
        named = content.seeds if isinstance(content.seeds, list) else list(range(content.seeds.min))
        self.seeds = tuple(seeds if seeds is not None else named)
        self.more_seeds: tuple[int, ...] = ()
        if seeds is None and isinstance(content.seeds, Seeds):
            self.more_seeds = tuple(range(content.seeds.min, content.seeds.max))
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
        planned.claims, planned.more_seeds = list(self._claims()), self.more_seeds
        planned.analyses = 1 + len(self.more_seeds)
        fingerprint = datasets.fingerprint(self.profile.data) if not self.problems.found else ""
        for draft in drafts:
            with self.problems:
                self.place(draft, planned, fingerprint)
        self.problems.check()
        self._ask(planned)
        return planned

    def _claims(self) -> Iterator[claims.Claim]:
        for i, entry in enumerate(self.content.claims):
            with self.problems:
                yield claims.read(entry, f"claims[{i}]")

    def _ask(self, planned: Experiment) -> None:
        """Check that rows answer every claim. If `--set` changed the rows, the file is not to blame: a note says so."""
        with contextlib.suppress(SpecError):  # a base that no row uses may be none for these images
            planned.base = self._recipe(self.resolved(self.content.base, {}, "base"), "base").flat()
        for i, claim in enumerate(planned.claims):
            try:
                claim.rows(planned.rows, planned.base)
            except SpecError as error:
                if not self.last and self.original:
                    self.problems.add(*(f"claims[{i}] ({claim.id}): {p}" for p in error.problems))
                planned.notes.append(f"claim {claim.id} has no rows: {error.problems[0]}")
        twice = [c.id for i, c in enumerate(planned.claims) if c.id in {d.id for d in planned.claims[:i]}]
        self.problems.add(*(f"claims: the id {name!r} stands twice" for name in dict.fromkeys(twice)))
        self.problems.check()

    def place(self, draft: Draft, planned: Experiment, fingerprint: str) -> None:
        """Add a row and its cells to an experiment.

        Raises:
            SpecError: there can be no such recipe.
        """
        recipe = self._recipe(draft.specs, draft.label)
        imports = tuple(self.content.imports)
        cells = [Cell.of(recipe, self.profile, seed, fingerprint, imports) for seed in self.seeds]
        planned.cells |= {cell.key: planned.cells.get(cell.key, cell) for cell in cells}
        keys = [cell.key for cell in cells]
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
                part.require()
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
            raise SpecError(f"{path}: {name!r} names no recipe; {nearest(name, yaml_files.named('recipes'))}")
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
    return datasets.shape(profile.data)
