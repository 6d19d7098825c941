"""Study files: search space, objective, number of trials, sampler and pruner."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from pydantic import AfterValidator, Field

from ablate.config import recipe as recipes
from ablate.config.recipe import Specs
from ablate.core import hint, yaml_files
from ablate.core.errors import Problems, SpecError, nearest
from ablate.core.section import FileName, Section, read_most
from ablate.core.typed import shown
from ablate.planning import too_short
from ablate.planning.cells import Cell, Row
from ablate.planning.experiment import Experiment
from ablate.planning.file import File
from ablate.planning.parameters import fitting
from ablate.planning.planner import Planner
from ablate.planning.points import name_of
from ablate.planning.rows import Rows
from ablate.planning.seeds import SeedList
from ablate.planning.unbuilt_rows import Draft, label_of
from ablate.study import optunas, space
from ablate.study.exhaustive import Exhaustive

Count = Annotated[int, Field(ge=1, le=10**6)]
OWN = ("trials", "objective", "rungs", "sampler", "pruner")  # keys of the file that --set can change

# the space is the same without these keys
APART = {"summary", "seeds", "objective", "trials", "rungs", "sampler", "pruner"}


def _not_empty(search: dict[str, Any]) -> dict[str, Any]:
    if not search:
        raise ValueError("needs at least one field, such as metric.c")
    return search


class StudyFile(Section):
    """The keys of a study file."""

    name: FileName
    search: Annotated[dict[str, Any], AfterValidator(_not_empty)]
    summary: str = ""
    profile: str = "digits"
    base: str = "ict"
    imports: list[str] = []
    set: dict[str, Any] = {}
    seeds: SeedList = [0]
    objective: str | list[str] = "fid_1step"
    trials: Count = 40
    # equal parts of training; a trial may be pruned after each
    rungs: Annotated[int, Field(ge=1, le=100)] = 4
    sampler: str | dict[str, Any] = "TPESampler"
    pruner: str | dict[str, Any] = "NopPruner"


@dataclass
class Plan:
    """A study that is ready to turn parameters into cells.

    space: flat field -> Optuna's distribution. of: the row whose trials these are; empty for a study file's.
    """

    content: StudyFile
    objective: tuple[str, ...]
    space: dict[str, BaseDistribution]
    planner: Rows
    of: str = ""
    experiment: Experiment = field(init=False)

    def __post_init__(self) -> None:
        c, p = self.content, self.planner
        self.experiment = Experiment(c.name, p.file, c.summary, p.profile, p.seeds, notes=p.notes)
        self.experiment.origin = p.origin

    @property
    def prunes(self) -> bool:
        """Whether trials may be pruned."""
        return name_of(self.content.pruner) != "NopPruner" and self.content.rungs > 1

    @cached_property
    def exhaustive(self) -> Exhaustive | None:
        """The sampler, if it tries each point of the space once."""
        sampler = optunas.sampler(self.content.sampler, self.space, 0)
        return sampler if isinstance(sampler, Exhaustive) else None

    @property
    def most(self) -> int:
        """The trials of a new study: those that the file asks for, but no more than there are points."""
        asked = self.content.trials
        return min(asked, self.exhaustive.points) if self.exhaustive else asked

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the images."""
        return self.planner.fingerprint()

    @cached_property
    def base(self) -> Row:
        """The base recipe as a row."""
        return self._add_row(self._empty_experiment(), "base", self.content.base, {})[0]

    @property
    def id(self) -> str:
        """The name of Optuna's study; it differs for other images, budgets, base recipes or objectives."""
        identity = json.dumps([self.base.keys, self.objective])
        return f"{self.content.name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    def at_base(self) -> dict[str, Any]:
        """The base recipe's values of the searched fields; empty unless all lie in the search space."""
        flat = self.base.recipe.flat()
        values = {name: flat.get(name) for name in self.space}
        inside = all(v is not None and space.contains(self.space[k], v) for k, v in values.items())
        return values if inside else {}

    def params(self, trial: FrozenTrial) -> dict[str, Any]:
        """The parameters of a trial, steps in decimals."""
        return space.decimal(trial.params, self.space)

    def row(self, label: str, params: Mapping[str, Any]) -> tuple[Row, list[Cell]]:
        """A trial as a row of the experiment, with its cells, one per seed.

        Args:
            params: flat field -> value; fields that the chosen option does not have are ignored.
        """
        return self._add_row(self.experiment, "study", label, space.decimal(params, self.space))

    def around(self) -> Experiment:
        """The base recipe as an experiment of its own, to examine it before the search."""
        planned = self._empty_experiment()
        self._add_row(planned, "base", self.content.base, {})
        return planned

    def ends(self) -> Experiment:
        """The base recipe, and the recipes at the ends of each range, as an experiment.

        Raises:
            SpecError: every end whose recipe is invalid.
        """
        planned, problems = self.around(), Problems()
        planned.notes = self.experiment.notes
        for name, ends in space.ends(self.space).items():
            for value in ends:
                with problems:
                    try:
                        self._add_row(planned, "study", f"{name}={shown(value)}", {name: value})
                    except SpecError as error:
                        raise error.under(f"search.{name}: {value!r}") from None
        problems.check()
        return planned

    def _empty_experiment(self) -> Experiment:
        e = self.experiment
        return Experiment(e.name, e.file, e.summary, e.profile, e.seeds)

    def _add_row(
        self, into: Experiment, section: str, label: str, params: Mapping[str, Any]
    ) -> tuple[Row, list[Cell]]:
        base, chosen = self.content.base, fitting(params, self._specs({}))
        draft = Draft(label, section, self._specs(chosen), label_of(base), self._specs({}))
        self.planner.add_row(draft, into, self.fingerprint)
        row = into.rows[-1]
        return row, [into.cells[key] for key in row.keys]

    def _specs(self, params: Mapping[str, Any]) -> Specs:
        return self.planner.resolved(self.content.base, params, "search")


def load(
    path: str | Path,
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    runs: Path | None = None,
) -> Plan:
    """Plan the study file at `path`.

    Args:
        profile: replaces the file's profile.
        overrides: dotted `--set` values: trials, objective, rungs, sampler and pruner change the file, those under
            `profile.` the profile, all others a field of every trial.
        seeds: replace the file's seeds.
        runs: as for an experiment.
    Raises:
        SpecError: all errors of the file together.
    """
    file, overrides = Path(path), dict(overrides or {})
    own = {k: overrides.pop(k) for k in list(overrides) if k in OWN}
    problems = Problems()
    content = _validated({**yaml_files.mapping(yaml_files.read(file), str(file)), **own}, file, problems)
    if wrong := [k for k in overrides if k.startswith("tune.")]:
        raise SpecError(
            f"{file}: {wrong[0]}: this is a study file, which has `search`, `trials` and `seeds` itself"
        )
    try:
        recipes.load_plugins(content.imports, file)
        plan = _planned(content, file, profile, overrides, seeds, runs)
        # trials, sampler, pruner and rungs continue the same study; these make another one
        other = {k: v for k, v in (("objective", own.get("objective")), ("seeds", seeds)) if v is not None}
        origin = plan.planner.origin
        plan.experiment.origin = replace(origin, overrides={**origin.overrides, **other})
        if not problems.found:
            return plan
    except SpecError as error:
        problems.add(*error.under(str(file)).problems)
    raise SpecError(*problems.found)


def _validated(content: dict[str, Any], file: Path, problems: Problems) -> StudyFile:
    if "plan" in content:
        run = hint.command("run", file, keep=hint.WHOLE)
        raise SpecError(f"{file}: plan: this is an experiment, for {run}; a study has `search`")
    return read_most(StudyFile, content, str(file), APART, problems)


def _planned(
    content: StudyFile,
    file: Path,
    profile: str | None,
    overrides: dict[str, Any],
    seeds: Sequence[int] | None,
    runs: Path | None,
) -> Plan:
    problems = Problems()
    fixed = [k for k in content.search if k in overrides or k in content.set]
    problems.add(*(f"search.{k}: it is set as well" for k in fixed))
    if "budgets" in overrides:
        problems.add("--budgets: a study has one budget: --set profile.images changes it")
    experiment = File(name=content.name, plan=[{}], summary=content.summary, profile=content.profile)
    shared = {k: getattr(content, k) for k in ("seeds", "base", "imports", "set")}
    planner = Planner(file, experiment.model_copy(update=shared), profile, overrides, seeds, runs=runs)
    problems.add(*planner.problems.found)
    problems.check()
    distributions: dict[str, BaseDistribution] = {}
    with problems:
        distributions = space.read(content.search, planner.resolved(content.base, {}, "base"))
    objective = _objective(content.objective, len(planner.profile.evaluation.sigma_mid) + 1, problems)
    if distributions:
        with problems:
            optunas.sampler(content.sampler, distributions, 0)
    with problems:
        optunas.pruner(content.pruner, content.rungs)
    problems.check()
    planner.notes += space.shortened(content.search, distributions)
    return completed(Plan(content, objective, distributions, planner))


def completed(plan: Plan) -> Plan:
    """A plan whose trials are evaluated `rungs` times, if they may be pruned.

    Raises:
        SpecError: Optuna refuses it, or a recipe at an end of a range is invalid.
    """
    content, objective, planner = plan.content, plan.objective, plan.planner
    if plan.prunes and len(objective) > 1:
        raise SpecError(
            "pruner: Optuna prunes by one objective only; leave the pruner out, or name one objective"
        )
    if plan.prunes:
        steps, batch = planner.profile.steps, planner.profile.batch
        if content.rungs > steps:
            raise SpecError(
                f"rungs: {content.rungs}: training has {steps} steps of {batch} images, "
                f"so at most {steps} evaluation points"
            )
        every = steps * batch // content.rungs  # so the last evaluation but one lies before the last step
        evaluation = planner.profile.evaluation.model_copy(update={"every": every})
        planner.profile = planner.profile.model_copy(update={"evaluation": evaluation})
        plan = replace(plan)  # its experiment has the planner's profile
    pruning = content.pruner if plan.prunes else None
    optunas.rehearse(content.sampler, pruning, plan.space, len(objective), content.rungs)
    plan.experiment.notes += too_short.notes([plan.base], planner.profile)
    plan.ends()
    return plan


def _objective(value: str | list[str], most: int, problems: Problems) -> tuple[str, ...]:
    known = [f"fid_{nfe}step" for nfe in sorted({1, most})]
    names = [value] if isinstance(value, str) else value
    problems.add(*(f"objective: {n!r}; {nearest(n, known)}" for n in names if n not in known))
    if not names or len(set(names)) < len(names):
        problems.add(f"objective: {names}: one or more of {', '.join(known)}, each once")
    return tuple(names)
