"""Trials as cells: start them, report values at evaluation points, prune, and restart those of a dead process."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, Trial, TrialState

from ablate.execution.scheduler import CellEnd, Scheduler
from ablate.planning.cells import Cell, Row
from ablate.runs.heartbeat import boot
from ablate.runs.store import Store
from ablate.study.plan import Plan

HEARTBEAT_S = 20.0  # between two heartbeats
DEAD_S = 120.0  # a trial on another machine counts as dead after so long without a heartbeat
REPORT_S = 1.0  # between two reads of the evaluation points
LOST, REASON, OWNER, HEARTBEAT = "lost", "reason", "owner", "alive"  # user attributes of trials


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
    """

    def __init__(
        self,
        plan: Plan,
        study: optuna.Study,
        store: Store,
        scheduler: Scheduler,
        on_trial: Callable[[Row, list[Cell]], None] = lambda row, cells: None,
    ):
        self.plan, self.study, self.store = plan, study, store
        self.scheduler, self.on_trial = scheduler, on_trial
        self.open: dict[int, OpenTrial] = {}
        self.cells: set[str] = set()  # keys of the cells that the scheduler has
        self.reported = 0.0

    def needs_more(self) -> bool:
        """Whether the study needs another trial."""
        trials = self.study.get_trials(deepcopy=False)
        return sum(counts(t) or t.state == TrialState.RUNNING for t in trials) < self.plan.content.trials

    def begin(self) -> None:
        """Ask Optuna for parameters and schedule their cells; recorded cells are not computed again."""
        trial = self.study.ask(fixed_distributions=self.plan.space)
        trial.set_user_attr(OWNER, owner())
        trial.set_user_attr(HEARTBEAT, time.time())
        row, cells = self.plan.row(f"trial {trial.number}", trial.params)
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
        """Report the objective's mean over seeds at each evaluation point that all seeds have passed."""
        every = self.plan.experiment.profile.evaluation.every or 1
        values = [_at_points(self.store, c.key, self.plan.objective[0], every) for c in one.cells]
        for point in range(one.point + 1, self.plan.content.rungs):
            if not all(point in by_point for by_point in values):
                break
            one.trial.report(sum(by_point[point] for by_point in values) / len(values), point)
            one.point = point

    def _prune(self, one: OpenTrial) -> None:
        self._end(one, TrialState.PRUNED)
        others = {key for o in self.open.values() for key in o.row.keys}
        for key in set(one.row.keys) - others:
            self.scheduler.stop(key)
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
            self._end(one, TrialState.COMPLETE, values)

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

    def release(self) -> None:
        """Queue open trials again when this process ends early; the next one resumes from their checkpoints."""
        for one in list(self.open.values()):
            self._fail(one, "interrupted", lost=True)


def requeue_dead(study: optuna.Study) -> int:
    """Fail the trials whose process is dead and queue their parameters again; returns how many there were."""
    dead = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.RUNNING and _dead(t)]
    requeued = 0
    for trial in dead:
        study._storage.set_trial_user_attr(trial._trial_id, LOST, True)
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, RuntimeError):  # another process was faster
            continue
        study.enqueue_trial(trial.params)
        requeued += 1
    return requeued


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts toward the number of trials: it ended, but not because its process died."""
    return trial.state.is_finished() and not trial.user_attrs.get(LOST)


def owner() -> list[Any]:
    """The process that runs a trial: host, boot id, process id, start time."""
    return [socket.gethostname(), boot(), os.getpid(), psutil.Process().create_time()]


def _dead(trial: FrozenTrial) -> bool:
    if OWNER not in trial.user_attrs:  # created a moment ago, or by a process that died right then
        return trial.datetime_start is None or time.time() - trial.datetime_start.timestamp() > DEAD_S
    host, started, pid, born = trial.user_attrs[OWNER]
    if host != socket.gethostname():
        return bool(time.time() - trial.user_attrs.get(HEARTBEAT, 0.0) > DEAD_S)
    try:
        return bool(started != boot() or abs(psutil.Process(pid).create_time() - born) > 1)
    except psutil.NoSuchProcess:
        return True


def _value(record: dict[str, Any], objective: str) -> float:
    return float(next(f["value"] for f in record["fid"] if objective == f"fid_{f['nfe']}step"))


def _at_points(store: Store, key: str, objective: str, every: int) -> dict[int, float]:
    """Evaluation point -> value of a cell's evaluations during training."""
    lines = [line for line in store.folder(key).lines() if objective in line["metrics"]]
    return {line["images"] // every: line["metrics"][objective] for line in lines}
