"""Optuna over the fields of a recipe: trials are cells of the same store. The only importer of optuna."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from ablate.core.errors import SpecError
from ablate.execution.progress import Progress
from ablate.execution.runner import terminated
from ablate.execution.scheduler import POLL_S, Crew, Follow
from ablate.planning.cells import Cell, Row
from ablate.runs.store import Folder, Store
from ablate.study import optunas
from ablate.study.plan import Plan, load
from ablate.study.trials import Trials, counts, owner, revive

__all__ = ["Plan", "load", "opened", "recorded", "run", "states"]


def opened(plan: Plan, runs: Path, url: str | None = None) -> optuna.Study:
    """The study in its storage, made if it is new; then the base's own values are its first trial.

    Args:
        url: of the storage, for several machines; a journal in `runs` unless given.
    """
    with optunas.quiet():
        storage = optunas.storage(runs, plan.content.name, url)
        study = optuna.create_study(
            storage=storage,
            study_name=plan.id,
            load_if_exists=True,
            directions=["minimize"] * len(plan.objective),
            pruner=optunas.pruner(plan.content.pruner, plan.content.rungs),
        )
        told = study.get_trials(deepcopy=False)
        if plan.at_base() and not told:
            study.enqueue_trial(plan.at_base(), skip_if_exists=True)
        # a sampler that is made anew must not repeat its first draws, nor those of another machine
        seed = len(told) + (zlib.crc32(repr(owner()).encode()) % 2**20 if url else 0)
        study.sampler = optunas.sampler(plan.content.sampler, plan.space, seed)
    return study


def recorded(plan: Plan, runs: Path, url: str | None = None) -> optuna.Study:
    """The study as it stands, to be read; no study is made.

    Raises:
        SpecError: its storage can not be had, or does not know it.
    """
    place = optunas.masked(url) if url else str(runs)
    try:
        if url or optunas.journal(runs, plan.content.name).is_file():
            with optunas.quiet():
                storage = optunas.storage(runs, plan.content.name, url)
                return optuna.load_study(study_name=plan.id, storage=storage)
    except KeyError:
        pass
    raise SpecError(f"{place}: no trials of {plan.experiment.file}; `ablate study` computes them")


def run(
    plan: Plan,
    study: optuna.Study,
    store: Store,
    crew_of: Callable[[Store, Follow, int], Crew],
    begun: Callable[[Row, list[Cell]], None] = lambda row, cells: None,
    follow: Follow = lambda folder, running: None,
) -> str:
    """Run the trials that are missing; why no further one can be run, empty if all were.

    Args:
        crew_of: store, follow, how many cells at most -> who computes them.
        begun: told of every trial's row and cells before they run.
        follow: told of every cell that starts (True) or ends (False).
    """
    with optunas.quiet(), terminated():
        revive(study)
        left = plan.content.trials - sum(map(counts, study.get_trials(deepcopy=False)))
        if left <= 0:
            return ""
        cells = left * len(plan.experiment.seeds)
        with Progress(cells) as progress:
            return _consume(plan, study, store, crew_of, begun, follow, progress, cells)


def _consume(
    plan: Plan,
    study: optuna.Study,
    store: Store,
    crew_of: Callable[[Store, Follow, int], Crew],
    begun: Callable[[Row, list[Cell]], None],
    follow: Follow,
    progress: Progress,
    cells: int,
) -> str:
    def told(folder: Folder, running: bool) -> None:
        if running:
            progress.start(folder, plan.experiment.cells[folder.key])
        follow(folder, running)

    crew = crew_of(store, told, cells)
    trials = Trials(plan, study, store, crew, begun)
    try:
        while True:
            while crew.hungry and trials.wanted():
                trials.begin()
                _poll(crew, trials, progress)
            _poll(crew, trials, progress)
            if not crew.busy and not trials.open and (crew.broken or not trials.wanted()):
                return crew.broken
            time.sleep(POLL_S)
    except BaseException:
        crew.cancel()
        trials.release()
        raise


def _poll(crew: Crew, trials: Trials, progress: Progress) -> None:
    for ended in crew.poll():
        progress.end(ended.folder, ended.cell, ended.state, ended.record, ended.reason)
        trials.ended(ended)
    trials.look()
    progress.update()


def states(study: optuna.Study) -> dict[str, float]:
    """How many trials of those that count ended how."""
    found: dict[str, Any] = {}
    for trial in filter(counts, study.get_trials(deepcopy=False)):
        name = trial.state.name.lower()
        found[name] = found.get(name, 0.0) + 1
    return found
