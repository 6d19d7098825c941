"""Trials as cells: start them, report values at evaluation points, prune, and restart those of a dead process."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from ablate.execution.scheduler import CellEnd, Scheduler
from ablate.planning.cells import Cell, Row
from ablate.planning.points import name_of
from ablate.runs.store import Store
from ablate.study import optunas, process
from ablate.study.plan import Plan

HEARTBEAT_S = 20.0  # between two heartbeats
DEAD_S = 120.0  # a trial on another machine counts as dead after so long without a heartbeat
REPORT_S = 1.0  # between two reads of the evaluation points
LOST, REASON, OWNER, HEARTBEAT = "lost", "reason", "owner", "alive"  # user attributes of trials
AGAIN = "again"  # of a trial that repeats one without records: the number of that one


@dataclass
class OpenTrial:
    """A running trial: its cells, their records so far, and the last evaluation point that was reported."""

    trial: Trial
    row: Row
    cells: list[Cell]
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    point: int = 0
    heartbeat: float = field(default_factory=time.monotonic)


class Trials:
    """The trials of one process; other processes may run trials of the same study in the same storage.

    The number of trials is that of all processes; those that start one at the same moment may exceed it by one each.

    Args:
        on_trial: called with each trial's row and cells before they run.
        on_end: called when the study knows how one more trial ended.
        cells: keys of the cells that the scheduler has, to share it with the trials of other studies.
    """

    def __init__(
        self,
        plan: Plan,
        study: optuna.Study,
        store: Store,
        scheduler: Scheduler,
        on_trial: Callable[[Row, list[Cell]], None],
        on_end: Callable[[], object],
        cells: set[str],
    ):
        self.plan, self.study, self.store = plan, study, store
        self.scheduler, self.on_trial, self.on_end = scheduler, on_trial, on_end
        self.open: dict[int, OpenTrial] = {}
        self.cells = cells
        self.reported = 0.0

    def needs_more(self) -> bool:
        """Whether the study needs another trial, and there is a point for it."""
        return possible(self.plan, self.study) > 0

    def begin(self) -> None:
        """Ask Optuna for parameters and schedule their cells; recorded cells are not computed again."""
        with optunas.refusals(f"sampler: {name_of(self.plan.content.sampler)}"):
            trial = self.study.ask(fixed_distributions=self.plan.space)
        trial.set_user_attr(OWNER, process.owner())
        trial.set_user_attr(HEARTBEAT, time.time())
        label = f"{self.plan.of}, trial {trial.number}" if self.plan.of else f"trial {trial.number}"
        row, cells = self.plan.row(label, trial.params)
        trial.set_user_attr("keys", list(row.keys))
        self.open[trial.number] = OpenTrial(trial, row, cells)
        self.on_trial(row, cells)
        self._continue(self.open[trial.number])

    def _continue(self, one: OpenTrial) -> None:
        """Take the records that exist, schedule the other cells."""
        for cell in one.cells:
            if cell.key in one.records or cell.key in self.cells:
                continue
            if record := self.store.record(cell.key):
                one.records[cell.key] = record
            else:
                self.cells.add(cell.key)
                self.scheduler.add(cell)
        self._close(one)

    def ended(self, end: CellEnd) -> None:
        """Handle the end of a cell, with which trials may end."""
        key = end.cell.key
        self.cells.discard(key)
        for one in [o for o in self.open.values() if key in o.row.keys]:
            if end.record:
                one.records[key] = end.record
                self._close(one)
            elif end.state == "stopped":  # for another trial; this one still needs it
                self._continue(one)
            else:
                # no result of these parameters, and the next trials may need the same
                if end.state == "open":
                    self.scheduler.broken = end.reason
                self._fail(one, f"{end.state}: {end.reason}", lost=bool(self.scheduler.broken))

    def report(self) -> None:
        """Report evaluation points of open trials, prune, and send heartbeats."""
        if time.monotonic() - self.reported < REPORT_S:
            return
        self.reported = time.monotonic()
        for one in list(self.open.values()):
            if time.monotonic() - one.heartbeat > HEARTBEAT_S:
                one.heartbeat = time.monotonic()
                one.trial.set_user_attr(HEARTBEAT, time.time())
            if self.plan.prunes:
                self._report(one)
                if one.point and one.trial.should_prune():
                    self._prune(one)

    def _report(self, one: OpenTrial) -> None:
        """Report the objective's mean over seeds at each evaluation point at which all seeds were measured."""
        profile = self.plan.experiment.profile
        values = [_by_images(self.store, c.key, self.plan.objective[0]) for c in one.cells]
        for point in range(one.point + 1, self.plan.content.rungs):
            # step that passes the point
            first = math.ceil(point * (profile.evaluation.every or 1) / profile.batch)
            there = [by_images.get(first * profile.batch) for by_images in values]
            known = [value for value in there if value is not None]
            if len(known) == len(there):  # else not measured yet, or never: the cell has other points
                one.trial.report(sum(known) / len(known), point)
                one.point = point

    def _prune(self, one: OpenTrial) -> None:
        self._end(one, TrialState.PRUNED)
        others = {key for o in self.open.values() for key in o.row.keys}
        for key in set(one.row.keys) - others:
            self.scheduler.stop(key, "its trial was pruned")
            if self.store.folder(key).path not in self.scheduler.running:
                self.cells.discard(key)

    def _close(self, one: OpenTrial) -> None:
        """End a trial whose cells all have a record."""
        if len(one.records) < len(set(one.row.keys)) or one.trial.number not in self.open:
            return
        records = [one.records[key] for key in one.row.keys]
        bad = [r for r in records if r["state"] != "finished"]
        if [r for r in bad if r["state"] == "failed"]:
            self._fail(one, f"failed: {bad[0].get('reason', '')}")
        elif bad:  # samplers rank a trial that was pruned without any value below all others
            one.trial.set_user_attr(REASON, f"diverged: {bad[0].get('reason', '')}")
            self._end(one, TrialState.PRUNED)
        else:
            if self.plan.prunes:
                self._report(one)
            values = [sum(_value(r, name) for r in records) / len(records) for name in self.plan.objective]
            if all(map(math.isfinite, values)):
                self._end(one, TrialState.COMPLETE, values)
            else:
                self._fail(one, f"failed: {', '.join(self.plan.objective)}: {values}")

    def _fail(self, one: OpenTrial, reason: str, lost: bool = False) -> None:
        one.trial.set_user_attr(REASON, reason)
        if lost:
            one.trial.set_user_attr(LOST, True)
        self._end(one, TrialState.FAIL)
        if lost:
            self.study.enqueue_trial(one.trial.params)

    def _end(self, one: OpenTrial, state: TrialState, values: list[float] | None = None) -> None:
        del self.open[one.trial.number]
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            # another machine took this process for dead and restarted the trial, whose cells are finished by now
            self.study.tell(one.trial, values, state, skip_if_finished=True)
        self.on_end()

    def release(self) -> None:
        """Queue open trials again when this process ends early; the next one resumes from their checkpoints."""
        for one in list(self.open.values()):
            self._fail(one, "interrupted", lost=True)


def requeue_dead(study: optuna.Study) -> int:
    """Fail the trials whose process is dead and queue their parameters again; returns how many there were."""
    lost = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.RUNNING and dead(t)]
    requeued = 0
    for trial in lost:
        study._storage.set_trial_user_attr(trial._trial_id, LOST, True)
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, RuntimeError):  # another process was faster
            continue
        study.enqueue_trial(trial.params)
        requeued += 1
    return requeued


def requeue_failed(study: optuna.Study, store: Store) -> int:
    """Queue the failed trials again whose cells have no record, for the machine failed; returns their number."""
    failed = without_record(study, store)
    for trial in failed:
        study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})
    return len(failed)


def without_record(study: optuna.Study, store: Store) -> list[FrozenTrial]:
    """The failed trials with a cell that has no record."""
    failed = [t for t in counted(study.get_trials(deepcopy=False)) if t.state == TrialState.FAIL]
    return [t for t in failed if not all(map(store.record, t.user_attrs.get("keys", [])))]


def possible(plan: Plan, study: optuna.Study) -> int:
    """How many trials are missing that nobody runs and for which there is a point."""
    trials = study.get_trials(deepcopy=False)
    missing = plan.content.trials - len(counted(trials)) - _number(trials, TrialState.RUNNING)
    if not plan.exhaustive or missing <= 0:
        return max(0, missing)
    return min(missing, _number(trials, TrialState.WAITING) + plan.exhaustive.left(study))


def shortfall(plan: Plan, study: optuna.Study) -> list[str]:
    """Why the study has fewer results than the file asks for; empty if it has all."""
    trials, reasons = study.get_trials(deepcopy=False), []
    ended, running = counted(trials), _number(trials, TrialState.RUNNING)
    if ended and not any(t.state == TrialState.COMPLETE for t in ended):
        reasons.append("no trial is complete")
    if plan.exhaustive and not plan.exhaustive.left(study) + _number(trials, TrialState.WAITING) + running:
        reasons.append(f"the grid has {plan.exhaustive.points} points")
    elif (missing := plan.content.trials - len(ended)) > 0:
        elsewhere = f" ({running} in another process, or interrupted)" if running else ""
        reasons.append(f"missing trials: {missing}{elsewhere}")
    return reasons


def _number(trials: Sequence[FrozenTrial], state: TrialState) -> int:
    return sum(t.state == state for t in trials)


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count toward their number: they ended, their process was not lost, and no other repeats them."""
    repeated = {t.user_attrs.get(AGAIN) for t in trials}
    ended = [t for t in trials if t.state.is_finished() and not t.user_attrs.get(LOST)]
    return [t for t in ended if t.number not in repeated]


def dead(trial: FrozenTrial) -> bool:
    """Whether the process of a running trial has ended, as far as this machine can see."""
    if OWNER not in trial.user_attrs:  # created a moment ago, or by a process that died right then
        return trial.datetime_start is None or time.time() - trial.datetime_start.timestamp() > DEAD_S
    ended = process.ended(trial.user_attrs[OWNER])
    return time.time() - trial.user_attrs.get(HEARTBEAT, 0.0) > DEAD_S if ended is None else ended


def _value(record: dict[str, Any], objective: str) -> float:
    return float(next(f["value"] for f in record["fid"] if objective == f"fid_{f['nfe']}step"))


def _by_images(store: Store, key: str, objective: str) -> dict[int, float]:
    """Images trained on -> value of a cell's evaluations during training."""
    lines = [line for line in store.folder(key).lines() if objective in line["metrics"]]
    return {line["images"]: line["metrics"][objective] for line in lines}
