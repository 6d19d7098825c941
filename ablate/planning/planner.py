"""Turns an experiment file into cells: one per recipe and seed, equal cells only once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ablate.config import recipe as recipes
from ablate.config.profile import Profile, load_profile
from ablate.config.recipe import Specs
from ablate.core import yaml_files
from ablate.core.errors import Problems, SpecError, nearest
from ablate.data import datasets
from ablate.evaluation import evaluate
from ablate.planning import budgets, claims, too_short, tuning
from ablate.planning.budgets import OWN
from ablate.planning.cells import Row
from ablate.planning.experiment import Experiment, Origin, answering
from ablate.planning.file import File, validated
from ablate.planning.plan_kinds import KINDS
from ablate.planning.recorded import Recorded, recorded_images
from ablate.planning.rows import Rows, adapted
from ablate.planning.seeds import Seeds, seed_problems
from ablate.planning.tune import with_options
from ablate.planning.unbuilt_rows import Draft


def load(
    path: str | Path,
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    recorded: Recorded | None = None,
    runs: Path | None = None,
    records: Path | None = None,
) -> Experiment:
    """Plan the experiment file at `path`.

    Args:
        profile: replaces the file's profile.
        overrides: dotted `--set` values; those under `profile.` change the profile, those under `tune.` the search.
        seeds: replace the file's seeds.
        recorded: replaces the profile and what is read from its images.
        runs, records: a folder of cells and a records file that say which images they had, if these are not here.
    Raises:
        SpecError: all errors of the file together, each with path, value and nearest right word.
    """
    file = Path(path)
    plain = with_options(yaml_files.mapping(yaml_files.read(file), str(file)), overrides or {})
    problems = Problems()
    content = validated(plain, file, problems)
    try:
        recipes.load_plugins(content.imports, file)
        planner = Planner(file, content, profile, dict(overrides or {}), seeds, recorded, runs, records)
        planned = planner.experiment()
        if not problems.found:
            return tuning.known(planned, *filter(None, (runs, records)))
    except SpecError as error:
        problems.add(*error.under(str(file)).problems)
    raise SpecError(*problems.found)


def _tell_apart(rows: list[Row]) -> list[str]:
    """Number the rows that have another row's label but not its cells; of rows in a `list`, the problems instead."""
    problems, known = dict[str, None](), dict[tuple[str, float], Sequence[str]]()
    for i, row in enumerate(rows):
        label, n = row.label, 1
        while known.setdefault((label, row.budget), row.keys) != row.keys:
            n += 1
            label = f"{row.label} ({n})"
        if n > 1 and row.section == "list":
            problems[f"row {row.label!r}: two rows that differ have this label; give each its own"] = None
        rows[i] = replace(row, label=label)
    return [*problems]


class Planner(Rows):
    """Resolves recipes in order of precedence: option defaults, recipe, adapt, the file's set, the row's set, --set."""

    def __init__(
        self,
        file: Path,
        content: File,
        profile: str | None,
        overrides: dict[str, Any],
        seeds: Sequence[int] | None,
        recorded: Recorded | None = None,
        runs: Path | None = None,
        records: Path | None = None,
    ):
        self.content, self.default_base, self.problems, notes = content, content.base, Problems(), list[str]()
        own = {
            k: v for k, v in overrides.items() if not k.startswith(("profile.", "tune.")) and k != "budgets"
        }
        profile_overrides = {
            k.removeprefix("profile."): v for k, v in overrides.items() if k.startswith("profile.")
        }
        made = load_profile(profile or content.profile, profile_overrides, file)
        # the adapt of another profile may make rows equal
        self.original_profile = not profile or profile == content.profile
        self.budgets: tuple[float, ...] = OWN
        with self.problems:
            where = "--set: " if "budgets" in overrides else ""
            self.budgets = budgets.checked(overrides.get("budgets", content.budgets), made, where)
            overrides |= {"budgets": [*self.budgets]} if where else {}  # one report, however they were typed
        named = content.seeds if isinstance(content.seeds, list) else list(range(content.seeds.min))
        chosen = tuple(seeds if seeds is not None else named)
        self.more_seeds: tuple[int, ...] = ()
        if seeds is None and isinstance(content.seeds, Seeds):
            self.more_seeds = tuple(range(content.seeds.min, content.seeds.max))
        self.problems.add(*(f"--seeds: {problem}" for problem in seed_problems(chosen)))
        with self.problems:
            evaluate.check(made.evaluation.extractor)
        if not recorded and (runs or records):
            recorded = recorded_images(made, runs, records, notes)
        made, shape = (recorded.profile, recorded.shape) if recorded else (made, image_shape(made))
        named_fields = {*content.set, *own}
        super().__init__(file, made, chosen, shape, content.imports, named_fields, not recorded)
        self.recorded, self.notes, self.recipe_overrides = recorded, notes, own
        shipped = _shipped_or_path(profile or content.profile, file)
        self.origin = Origin(shipped, self.original_profile, overrides)

    def experiment(self) -> Experiment:
        drafts = [
            draft for i, entry in enumerate(self.content.plan) for draft in self._entry(entry, f"plan[{i}]")
        ]
        c = self.content
        planned = Experiment(c.name, self.file, c.summary, self.profile, self.seeds, notes=self.notes)
        planned.claims, planned.more_seeds = list(self._claims()), self.more_seeds
        planned.analyses, planned.origin = 1 + len(self.more_seeds), self.origin
        fingerprint = self.fingerprint() if not self.problems.found else ""
        planned.budgets = self.budgets if self.budgets != OWN else ()
        # what fails with the most images is no matter of the budget
        most = budgets.scaled(self.profile, max(1.0, self.budgets[-1]))
        for draft in drafts if planned.budgets else ():
            with self.problems:
                self._recipe(draft.specs, draft.label, most)
        for budget in self.budgets:
            found = Problems()
            for draft in drafts:
                with found:
                    self.add_row(draft, planned, fingerprint, budget)
                    if c.tune and budget != 1:
                        planned.rows[-1] = replace(planned.rows[-1], own=self._own(draft, fingerprint))
            new = [problem for problem in found.found if problem not in self.problems.found]
            self.problems.add(*(budgets.too_short(new, budget) if planned.budgets else new))
        self.problems.add(*_tell_apart(planned.rows))
        whole = not self.problems.found  # then no claim lacks its rows because of another mistake
        if c.tune:
            planned.tuning = tuning.plan(c.tune, planned, self.shape, self.problems)
        if whole:
            self._check_claims(planned)
        self.problems.check()
        planned.cells = {key: planned.cells[key] for row in planned.rows for key in row.keys}
        for part in planned.by_budget():
            planned.notes += [n for n in too_short.notes(part.rows, part.profile) if n not in planned.notes]
        return planned

    def _own(self, draft: Draft, fingerprint: str) -> Row | None:
        """The row with the profile's own images, which is searched for all its budgets."""
        with contextlib.suppress(SpecError):  # too few images: a trial has no more, and `tune` says so
            return self.row(draft, fingerprint, 1.0, self.seeds[:1])[0]
        return None

    def fingerprint(self) -> str:
        """The fingerprint of the images."""
        return self.recorded.fingerprint if self.recorded else datasets.fingerprint(self.profile.data)

    def _claims(self) -> Iterator[claims.Claim]:
        for i, entry in enumerate(self.content.claims):
            with self.problems:
                yield claims.read(entry, f"claims[{i}]")

    def _check_claims(self, planned: Experiment) -> None:
        """Check that every claim has rows, and note a number of steps that is not measured.

        Where --set or --profile changed the rows, a claim that has rows in the file as written has a note only.
        """
        with contextlib.suppress(SpecError):  # a base that no row uses may not fit these images
            planned.base = self._recipe(self.resolved(self.content.base, {}, "base"), "base").flat()
        for i, claim in enumerate(planned.claims):
            try:
                planned.places(partial(answering, claim))
                if claim.tuned and not self.content.tune:
                    raise SpecError("tuned: the file has no `tune`")
            except SpecError as error:
                place = f"claims[{i}] ({claim.id}): "
                changed = self.recipe_overrides or not self.original_profile
                if not changed or self._wrong_as_written(place):
                    self.problems.add(*(place + p for p in error.problems))
                planned.notes.append(f"claim {claim.id} has no rows: {error.problems[0]}")
            planned.notes += self._unmeasured(claim)
        twice = [c.id for i, c in enumerate(planned.claims) if c.id in {d.id for d in planned.claims[:i]}]
        self.problems.add(*(f"claims: the id {name!r} is used twice" for name in dict.fromkeys(twice)))

    def _wrong_as_written(self, place: str) -> bool:
        """Whether the file has a problem at this place without --set and --profile."""
        try:
            Planner(self.file, self.content, None, {}, self.seeds).experiment()
        except SpecError as error:
            return any(problem.startswith(place) for problem in error.problems)
        return False

    def _unmeasured(self, claim: claims.Claim) -> Iterator[str]:
        steps = len(self.profile.evaluation.sigma_mid) + 1
        for n in sorted(claim.evaluations - {1, steps}):
            measured = "one step" if steps == 1 else f"one and {steps} steps"
            way = f"add levels to profile.evaluation.sigma_mid, or measure {n} steps with `ablate evaluate --sigmas`"
            yield f"claim {claim.id} needs FID of {n} steps, but cells are measured in {measured}: {way}"

    def _entry(self, entry: dict[str, Any], path: str) -> list[Draft]:
        with self.problems:
            entry = dict(entry)
            priority = entry.pop("priority", 0)
            if isinstance(priority, bool) or not isinstance(priority, int):
                raise SpecError(f"{path}.priority: needs a whole number, not {priority!r}")
            if len(entry) != 1:
                raise SpecError(f"{path}: needs one of {', '.join(KINDS)}, not {sorted(map(str, entry))}")
            kind, value = next(iter(entry.items()))
            if kind not in KINDS:
                raise SpecError(f"{path}: no plan kind {kind!r}; {nearest(kind, KINDS)}")
            drafts = KINDS[kind](self, value, f"{path}.{kind}")
            return [replace(draft, priority=priority) for draft in drafts]
        return []

    def resolved(self, name: Any, row: Mapping[str, Any], path: str) -> Specs:
        """The specs of a row: the recipe, then the profile's adapt, the file's set, the row's set and --set."""
        specs, adapt = self.recipe_specs(name, path), self.profile.adapt
        layers = ((self.content.set, "set"), (row, path), (self.recipe_overrides, "--set"))
        specs = adapted(specs, self.profile)
        for layer, place in layers:
            try:
                specs = recipes.overlay(specs, layer, adapt)
            except SpecError as error:
                raise error.under(place) from None
        self._note_adapted(row, adapt, path)
        return specs

    def _note_adapted(self, row: Mapping[str, Any], adapt: Mapping[str, Any], path: str) -> None:
        for key in row:
            if key in adapt:
                note = f"{path}: profile {self.profile.name} adapts {key}; the row's value is used"
                self.notes += [note] if note not in self.notes else []


def _shipped_or_path(profile: str, beside: Path) -> str:
    """The name of a shipped profile, or the full path of another."""
    file = yaml_files.locate("profiles", profile, "profile", beside)
    shipped = yaml_files.named("profiles").get(file.stem)
    return file.stem if shipped and shipped.samefile(file) else str(file.resolve())


def image_shape(profile: Profile) -> tuple[int, int, int]:
    """(C, H, W) of the profile's images."""
    return datasets.shape(profile.data)
