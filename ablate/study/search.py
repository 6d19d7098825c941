"""Runs a study: Optuna searches fields of a recipe, and trials are cells in the same store as experiments."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from pathlib import Path

import optuna

from ablate.core.errors import SpecError
from ablate.execution.progress import Progress
from ablate.execution.runner import terminated
from ablate.execution.scheduler import POLL_S, Follow, Scheduler
from ablate.planning.cells import Cell, Row
from ablate.runs.store import Folder, Store
from ablate.study import optunas
from ablate.study.plan import Plan, load
from ablate.study.trials import Trials, counts, owner, requeue_dead

__all__ = ["Plan", "load", "load_study", "open_study", "run", "states"]


def open_study(plan: Plan, runs: Path, url: str | None = None) -> optuna.Study:
    """Load the study from its storage, or create it with the base recipe's values as its first trial.

    Args:
        url: of the storage, for several machines; a journal in `runs` by default.
    Raises:
        SpecError: the storage cannot be opened.
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
        trials = study.get_trials(deepcopy=False)
        if plan.at_base() and not trials:
            study.enqueue_trial(plan.at_base(), skip_if_exists=True)
        # a new sampler must not repeat its first draws, nor those of another machine
        seed = len(trials) + (zlib.crc32(repr(owner()).encode()) % 2**20 if url else 0)
        study.sampler = optunas.sampler(plan.content.sampler, plan.space, seed)
    return study


def load_study(plan: Plan, runs: Path, url: str | None = None) -> optuna.Study:
    """Load an existing study, to read its trials.

    Raises:
        SpecError: the storage cannot be opened, or does not have the study.
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
    make_scheduler: Callable[[Store, Follow, int], Scheduler],
    on_trial: Callable[[Row, list[Cell]], None] = lambda row, cells: None,
    follow: Follow = lambda folder, running: None,
) -> str:
    """Run the missing trials.

    Args:
        make_scheduler: store, follow, number of cells at most -> scheduler.
        on_trial: called with each trial's row and cells before they run.
        follow: called with the folder of every cell that starts (True) or ends (False).
    Returns:
        Why no more trials can run; empty if all ran.
    """
    with optunas.quiet(), terminated():
        requeue_dead(study)
        left = plan.content.trials - sum(map(counts, study.get_trials(deepcopy=False)))
        if left <= 0:
            return ""
        cells = left * len(plan.experiment.seeds)
        with Progress(cells) as progress:
            return _consume(plan, study, store, make_scheduler, on_trial, follow, progress, cells)


def _consume(
    plan: Plan,
    study: optuna.Study,
    store: Store,
    make_scheduler: Callable[[Store, Follow, int], Scheduler],
    on_trial: Callable[[Row, list[Cell]], None],
    follow: Follow,
    progress: Progress,
    cells: int,
) -> str:
    def show(folder: Folder, running: bool) -> None:
        if running:
            progress.start(folder, plan.experiment.cells[folder.key])
        follow(folder, running)

    scheduler = make_scheduler(store, show, cells)
    trials = Trials(plan, study, store, scheduler, on_trial)
    try:
        while True:
            while scheduler.has_capacity and trials.needs_more():
                trials.begin()
                _poll(scheduler, trials, progress)
            _poll(scheduler, trials, progress)
            if not scheduler.busy and not trials.open and (scheduler.broken or not trials.needs_more()):
                return scheduler.broken
            time.sleep(POLL_S)
    except BaseException:
        scheduler.cancel()
        trials.release()
        raise


def _poll(scheduler: Scheduler, trials: Trials, progress: Progress) -> None:
    for end in scheduler.poll():
        progress.end(end)
        trials.ended(end)
    trials.report()
    progress.update()


def states(study: optuna.Study) -> dict[str, float]:
    """Number of trials that count, by state."""
    numbers: dict[str, float] = {}
    for trial in filter(counts, study.get_trials(deepcopy=False)):
        name = trial.state.name.lower()
        numbers[name] = numbers.get(name, 0.0) + 1
    return numbers
