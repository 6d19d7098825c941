"""Runs a study: Optuna searches fields of a recipe, and trials are cells in the same store as experiments."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, TrialState

from ablate.core import hint
from ablate.core.errors import SpecError
from ablate.execution.command import POLL_S
from ablate.execution.progress import Progress
from ablate.execution.runner import terminated
from ablate.execution.scheduler import Follow, Scheduler
from ablate.planning.cells import Cell, Row
from ablate.runs.store import Folder, Store
from ablate.study import optunas, process, space
from ablate.study.plan import Plan, load
from ablate.study.trials import Trials, counted, dead, possible, requeue_dead, requeue_failed, without_record

__all__ = ["Plan", "check", "load", "load_study", "open_study", "run", "states"]
Search = tuple[Plan, optuna.Study]
RUNGS = "rungs"  # user attribute of a study whose trials may be pruned


def open_study(plan: Plan, runs: Path, url: str | None = None) -> optuna.Study:
    """Load the study from its storage, or create it with the base recipe's values as its first trial.

    Args:
        url: of the storage, for several machines; a journal in `runs` by default.
    Raises:
        SpecError: the storage cannot be opened, or the study cannot continue with what it searches now.
    """
    with optunas.quiet(), optunas.refusals(_place(plan, runs, url)):
        storage = optunas.storage(runs, plan.content.name, url)
        study = optuna.create_study(
            storage=storage,
            study_name=plan.id,
            load_if_exists=True,
            directions=["minimize"] * len(plan.objective),
            pruner=optunas.pruner(plan.content.pruner, plan.content.rungs),
        )
        trials = study.get_trials(deepcopy=False)
        _check_resumable(plan, study)
        if plan.prunes:
            study.set_user_attr(RUNGS, plan.content.rungs)
        if plan.at_base() and not trials:
            study.enqueue_trial(plan.at_base(), skip_if_exists=True)
        study.sampler = _sampler(plan, study, trials, url)
    return study


def _sampler(
    plan: Plan, study: optuna.Study, trials: Sequence[FrozenTrial], url: str | None
) -> optuna.samplers.BaseSampler:
    """A sampler that does not repeat the first draws of an earlier one, nor those of another process.

    The only process of a study resumes where an earlier one stopped: the trials are those of a run without a stop.
    """
    alone = not url and not any(t.state == TrialState.RUNNING and not dead(t) for t in trials)
    if alone and possible(plan, study):
        made = optunas.sampler(plan.content.sampler, plan.space, 0)
        if optunas.caught_up(made, plan.space, trials, len(plan.objective)):
            return made
    seed = len(trials) + (zlib.crc32(repr(process.owner()).encode()) % 2**20 if url else 0)
    return optunas.sampler(plan.content.sampler, plan.space, seed)


def load_study(plan: Plan, runs: Path, url: str | None = None) -> optuna.Study:
    """Load an existing study, to read its trials.

    Raises:
        SpecError: the storage cannot be opened, or does not have the study.
    """
    if study := _existing(plan, runs, url):
        return study
    place = hint.masked(url) if url else str(runs)
    again = hint.command("study", plan.experiment.file, *(["--storage", url] if url else []), keep=hint.WHOLE)
    raise SpecError(f"{place}: no trials of {plan.experiment.file}; {again} computes them")


def check(plan: Plan, runs: Path, url: str | None = None) -> None:
    """Find without writing what `open_study` would refuse; a database is not opened.

    Raises:
        SpecError: the URL is none, or the study cannot continue with what it searches now.
    """
    if url:
        optunas.check_url(url)
    elif study := _existing(plan, runs, None):
        _check_resumable(plan, study)


@optunas.quiet()
def _existing(plan: Plan, runs: Path, url: str | None) -> optuna.Study | None:
    if not url and not optunas.journal(runs, plan.content.name).is_file():
        return None
    with optunas.refusals(_place(plan, runs, url)):
        storage = optunas.recorded(runs, plan.content.name, url)
        with contextlib.suppress(KeyError):
            return optuna.load_study(study_name=plan.id, storage=storage)
    return None


def _place(plan: Plan, runs: Path, url: str | None) -> str:
    return f"--storage {hint.masked(url)}" if url else str(optunas.journal(runs, plan.content.name))


def _check_resumable(plan: Plan, study: optuna.Study) -> None:
    """Raise SpecError unless Optuna can continue with the trials in the space and with the `rungs` of the file now."""
    trials, changed = study.get_trials(deepcopy=False), False
    advice = (
        f"choose another `name` (finished cells are used again), or change it back; study {plan.content.name}"
    )
    for name, now in plan.space.items():
        for before in {t.distributions[name] for t in trials if name in t.distributions}:
            changed |= before != now
            try:
                check_distribution_compatibility(before, now)
            except ValueError:
                was, is_now = space.words(before), space.words(now)
                raise SpecError(f"search.{name}: {is_now}: {advice} has trials with {was}") from None
    before = study.user_attrs.get(RUNGS, plan.content.rungs)
    if plan.prunes and before != plan.content.rungs and any(t.intermediate_values for t in trials):
        raise SpecError(f"rungs: {plan.content.rungs}: {advice} has values at {before} evaluation points")
    if changed or any(t.distributions and t.distributions.keys() != plan.space.keys() for t in trials):
        optunas.ask_again(plan.content.sampler, plan.space, trials, len(plan.objective))


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
    Raises:
        SpecError: Optuna refuses to continue, or the storage does.
    """
    return run_together([(plan, study)], store, make_scheduler, lambda _, *trial: on_trial(*trial), follow)


def run_together(
    searches: Sequence[Search],
    store: Store,
    make_scheduler: Callable[[Store, Follow, int], Scheduler],
    on_trial: Callable[[Search, Row, list[Cell]], None],
    follow: Follow = lambda folder, running: None,
    on_end: Callable[[Search], object] = lambda search: None,
) -> str:
    """Run the missing trials of several studies on the same workers; see `run`.

    Args:
        on_end: called when a study has the result of one more trial.
    """
    with optunas.quiet(), terminated():
        try:
            cells = 0
            for plan, study in searches:
                requeue_dead(study)
                requeue_failed(study, store)
                cells += max(0, possible(plan, study)) * len(plan.experiment.seeds)
            if not cells:
                return ""
            with Progress(cells) as progress:
                broken = _consume(searches, store, make_scheduler, on_trial, follow, on_end, progress, cells)
            failed = list[str]()
            for plan, study in searches:
                numbers = ", ".join(str(t.number) for t in without_record(study, store))
                failed += [f"trials {numbers}" + (f" of {plan.of}" if plan.of else "")] if numbers else []
            again = f"{', '.join(failed)} failed without a record; the same command computes them again"
            return broken or (again if failed else "")
        except OptunaError as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            names = ", ".join(plan.id for plan, _ in searches)
            raise SpecError(f"study {names}: {reason}; the same command continues") from None


def _consume(
    searches: Sequence[Search],
    store: Store,
    make_scheduler: Callable[[Store, Follow, int], Scheduler],
    on_trial: Callable[[Search, Row, list[Cell]], None],
    follow: Follow,
    on_end: Callable[[Search], object],
    progress: Progress,
    cells: int,
) -> str:
    by_key = dict[str, Cell]()

    def show(folder: Folder, running: bool) -> None:
        if running:
            progress.start(folder, by_key[folder.key])
        follow(folder, running)

    def begin(search: Search, row: Row, cells: list[Cell]) -> None:
        by_key.update((cell.key, cell) for cell in cells)
        progress.name(row.label, row.keys)
        for cell in cells:
            if store.record(cell.key):
                progress.spare(cell, "was computed before")
            elif cell.key in shared:
                progress.spare(cell, "is computed for another trial")
        on_trial(search, row, cells)

    def poll() -> None:
        for end in scheduler.poll():
            progress.end(end)
            for trials in studies:
                trials.ended(end)
        before = {*shared}
        for trials in studies:
            trials.report()
        for key in before - shared:
            progress.spare(by_key[key], "waited for a trial that was pruned")
        progress.update()

    scheduler, shared = make_scheduler(store, show, cells), set[str]()
    studies = [
        Trials(*search, store, scheduler, partial(begin, search), partial(on_end, search), shared)
        for search in searches
    ]
    try:
        while True:
            while scheduler.has_capacity and (wanting := [t for t in studies if t.needs_more()]):
                min(wanting, key=lambda trials: len(trials.open)).begin()
                poll()
            poll()
            open_, more = any(t.open for t in studies), any(t.needs_more() for t in studies)
            if not scheduler.busy and not open_ and (scheduler.broken or not more):
                return scheduler.broken
            time.sleep(POLL_S)
    except BaseException:
        scheduler.cancel()
        for trials in studies:
            with contextlib.suppress(OptunaError, OSError):  # of the storage, perhaps what led here
                trials.release()
        raise


def states(study: optuna.Study) -> dict[str, float]:
    """Number of trials that count, by state."""
    numbers: dict[str, float] = {}
    for trial in counted(study.get_trials(deepcopy=False)):
        name = trial.state.name.lower()
        numbers[name] = numbers.get(name, 0.0) + 1
    return numbers
