"""The trials of `tune`: an Optuna study for every distinct row, all with the same space, trials and budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ablate.config.recipe import Specs
from ablate.core.errors import Problems, SpecError
from ablate.core.files import write_json
from ablate.execution.scheduler import Follow, Scheduler
from ablate.planning import tuning
from ablate.planning.cells import Cell, Row
from ablate.planning.experiment import Experiment
from ablate.planning.parameters import applied
from ablate.planning.rows import Rows
from ablate.planning.tune import Found, Tried, file
from ablate.runs.store import NAMED, Folder, Store
from ablate.study import search as studies
from ablate.study import space
from ablate.study.plan import Plan, StudyFile, completed
from ablate.study.search import Search
from ablate.study.trials import REASON, counted, without_record

OBJECTIVE = "fid_1step"


class RowPlanner(Rows):
    """Plans the trials of a row: the only recipe that it knows is the row's."""

    def __init__(self, experiment: Experiment, row: Row):
        assert experiment.tuning
        cell, tune = next(iter(experiment.cells.values())), experiment.tuning.tune
        profile, shape = experiment.tuning.profile, experiment.tuning.shape
        own = "averaging.decay"  # the row's is already that of its share of the images
        super().__init__(experiment.file, profile, tuple(tune.seeds), shape, cell.imports, [own])
        self.specs, self.mark, self.kept = row.recipe.specs(), cell.fingerprint, tuning.kept(experiment)

    def fingerprint(self) -> str:
        """The fingerprint of the images."""
        return self.mark

    def resolved(self, name: Any, row: Mapping[str, Any], path: str) -> Specs:
        """The specs of the row with a trial's parameters."""
        return applied(row, self.specs, self.kept)


def plans(experiment: Experiment) -> dict[str, Plan]:
    """Id -> the study of every distinct row.

    Raises:
        SpecError: Optuna refuses the space, the sampler or the pruner.
    """
    problems, found = Problems(), dict[str, Plan]()
    for name, row in tuning.studies(experiment).items():
        try:
            found[name] = _plan(experiment, row)
        except SpecError as error:
            problems.add(*(f"{experiment.file}: tune.{p}" for p in error.problems))
    problems.check()
    return found


def _plan(experiment: Experiment, row: Row) -> Plan:
    assert experiment.tuning
    tune, planner = experiment.tuning.tune, RowPlanner(experiment, row)
    content = StudyFile(
        name=f"tune-{tuning.identity(experiment, row, of_any_length=True)}",
        search=tune.space,
        seeds=tune.seeds,
        trials=tune.trials,
        sampler=tune.sampler,
        pruner=tune.pruner,
        base=row.label,
    )
    distributions = space.read(tune.space, planner.specs)
    return completed(Plan(content, (OBJECTIVE,), distributions, planner, row.label))


def run(
    experiment: Experiment,
    made: Mapping[str, Plan],
    store: Store,
    make_scheduler: Callable[[Store, Follow, int], Scheduler],
    on_trial: Callable[[Row, list[Cell]], None] = lambda row, cells: None,
    follow: Follow = lambda folder, running: None,
) -> str:
    """Compute the missing trials of all rows, several rows at a time, and write what came out of each study.

    Args:
        made: the `plans` of this experiment or of one with more rows.
    Returns:
        Why trials are missing; empty if all have ended.
    Raises:
        SpecError: Optuna refuses to continue, or the storage does.
    """
    assert experiment.tuning
    found = experiment.tuning.found
    missing = [n for n in tuning.studies(experiment) if n not in found or not found[n].complete]
    names = {made[name].id: (name, made[name]) for name in missing}
    searches = [(plan, studies.open_study(plan, store.path)) for _, plan in names.values()]
    labels = dict[str, str]()

    def write(search: Search) -> bool:
        return _write(names[search[0].id][0], search, store)

    def begin(search: Search, row: Row, cells: list[Cell]) -> None:
        labels.update(dict.fromkeys(row.keys, row.label))
        write(search)
        on_trial(row, cells)

    def show(folder: Folder, running: bool) -> None:
        if running:
            with suppress(OSError):  # the worker says what is wrong with the disk
                write_json(folder.path / NAMED, {"experiment": experiment.name, "row": labels[folder.key]})
        follow(folder, running)

    broken = studies.run_together(searches, store, make_scheduler, begin, show, write) if searches else ""
    left = [search[0].of for search in searches if not write(search)]
    return broken or (
        f"trials of {', '.join(left)} have not ended: another command computes them" if left else ""
    )


def _write(name: str, search: Search, store: Store) -> bool:
    """Write what came out of a study so far; whether all its trials have ended."""
    plan, study = search
    trials = study.get_trials(deepcopy=False)
    ended = counted(trials)[: plan.content.trials]
    complete = len(ended) >= plan.most and not without_record(study, store)
    running = [] if complete else [t for t in trials if t.state.name == "RUNNING" and "keys" in t.user_attrs]
    found = Found(
        id=name,
        row=plan.of,
        images=plan.experiment.profile.images,
        seeds=list(plan.experiment.seeds),
        search=plan.content.search,
        trials=plan.content.trials,
        sampler=plan.content.sampler,
        pruner=plan.content.pruner,
        complete=complete,
        tried=[
            Tried(
                number=t.number,
                state=t.state.name.lower(),
                params=plan.params(t),
                value=t.value if t.state.name == "COMPLETE" else None,
                keys=t.user_attrs.get("keys", []),
                reason=t.user_attrs.get(REASON, ""),
            )
            for t in [*ended, *running]
        ],
    )
    place = file(store.path, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, found.plain())
    return complete
