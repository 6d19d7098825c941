"""Trials as cells: begun, followed from rung to rung, told how they ended; those of a dead process are begun anew."""

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

from ablate.execution.scheduler import Crew, Ended
from ablate.planning.cells import Cell, Row
from ablate.runs.heartbeat import boot
from ablate.runs.store import Store
from ablate.study.plan import Plan

SIGN_S, DEAD_S = 20.0, 120.0  # between two signs of life; without one, another machine's trial is dead
LOOK_S = 1.0  # between two looks at the rungs
LOST, REASON, OWNER, SIGN = "lost", "reason", "owner", "alive"  # what a trial notes of itself


@dataclass
class Open:
    """A trial that runs: its cells, how their records came out, the rungs that were reported."""

    trial: Trial
    row: Row
    cells: list[Cell]
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    rung: int = 0
    signed: float = field(default_factory=time.monotonic)


class Trials:
    """The trials of one process; others may work on the same study in the same storage.

    The number of trials is that of all processes; those that begin one in the same moment may exceed it by one each.

    Args:
        begun: told of each trial's row and cells before they run.
    """

    def __init__(
        self,
        plan: Plan,
        study: optuna.Study,
        store: Store,
        crew: Crew,
        begun: Callable[[Row, list[Cell]], None] = lambda row, cells: None,
    ):
        self.plan, self.study, self.store, self.crew, self.begun = plan, study, store, crew, begun
        self.open: dict[int, Open] = {}
        self.cells: set[str] = set()  # that the crew has
        self.looked = 0.0

    def wanted(self) -> bool:
        """Whether a further trial shall begin."""
        trials = self.study.get_trials(deepcopy=False)
        return sum(counts(t) or t.state == TrialState.RUNNING for t in trials) < self.plan.content.trials

    def begin(self) -> None:
        """Ask for parameters, and hand their cells to the crew; what the store knows is not computed."""
        trial = self.study.ask(fixed_distributions=self.plan.space)
        trial.set_user_attr(OWNER, owner())
        trial.set_user_attr(SIGN, time.time())
        row, cells = self.plan.row(f"trial {trial.number}", trial.params)
        trial.set_user_attr("keys", list(row.keys))
        self.open[trial.number] = Open(trial, row, cells)
        self.begun(row, cells)
        self._continue(self.open[trial.number])

    def _continue(self, one: Open) -> None:
        """Take what is recorded; compute the rest."""
        for cell in one.cells:
            if cell.key in one.records or cell.key in self.cells:
                continue
            if record := self.store.record(cell.key):
                one.records[cell.key] = record
            else:
                self.cells.add(cell.key)
                self.crew.add(cell)
        self._close(one)

    def ended(self, ended: Ended) -> None:
        """A cell is done with; so may be trials."""
        key = ended.cell.key
        self.cells.discard(key)
        for one in [o for o in self.open.values() if key in o.row.keys]:
            if ended.record:
                one.records[key] = ended.record
                self._close(one)
            elif ended.state == "stopped":  # for another trial; this one still wants it
                self._continue(one)
            else:
                self._fail(one, f"{ended.state}: {ended.reason}", lost=bool(self.crew.broken))

    def look(self) -> None:
        """Report the rungs that open trials have passed, prune, and give signs of life."""
        if time.monotonic() - self.looked < LOOK_S:
            return
        self.looked = time.monotonic()
        for one in list(self.open.values()):
            if time.monotonic() - one.signed > SIGN_S:
                one.signed = time.monotonic()
                one.trial.set_user_attr(SIGN, time.time())
            if self.plan.prunes:
                self._report(one)
                if one.rung and one.trial.should_prune():
                    self._prune(one)

    def _report(self, one: Open) -> None:
        """The mean over seeds of the objective at each rung that all of them have passed."""
        every = self.plan.experiment.profile.evaluation.every or 1
        seen = [_at_rungs(self.store, c.key, self.plan.objective[0], every) for c in one.cells]
        for rung in range(one.rung + 1, self.plan.content.rungs):
            if not all(rung in values for values in seen):
                break
            one.trial.report(sum(values[rung] for values in seen) / len(seen), rung)
            one.rung = rung

    def _prune(self, one: Open) -> None:
        self._tell(one, TrialState.PRUNED)
        others = {key for o in self.open.values() for key in o.row.keys}
        for key in set(one.row.keys) - others:
            self.crew.stop(key)
            if self.store.folder(key).path not in self.crew.running:
                self.cells.discard(key)

    def _close(self, one: Open) -> None:
        """Tell the values of a trial whose cells all have a record."""
        if len(one.records) < len(set(one.row.keys)) or one.trial.number not in self.open:
            return
        records = [one.records[key] for key in one.row.keys]
        bad = [r for r in records if r["state"] != "finished"]
        if [r for r in bad if r["state"] == "failed"]:
            self._fail(one, f"failed: {bad[0].get('reason', '')}")
        elif bad:  # worse than any number: samplers take a trial that was pruned before its first rung so
            one.trial.set_user_attr(REASON, f"diverged: {bad[0].get('reason', '')}")
            self._tell(one, TrialState.PRUNED)
        else:
            if self.plan.prunes:
                self._report(one)
            values = [sum(_value(r, name) for r in records) / len(records) for name in self.plan.objective]
            self._tell(one, TrialState.COMPLETE, values)

    def _fail(self, one: Open, reason: str, lost: bool = False) -> None:
        one.trial.set_user_attr(REASON, reason)
        if lost:
            one.trial.set_user_attr(LOST, True)
        self._tell(one, TrialState.FAIL)
        if lost:
            self.study.enqueue_trial(one.trial.params)

    def _tell(self, one: Open, state: TrialState, values: list[float] | None = None) -> None:
        del self.open[one.trial.number]
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            # another machine took this process for dead: it begins the trial anew, whose cells are finished then
            self.study.tell(one.trial, values, state, skip_if_finished=True)

    def release(self) -> None:
        """This process ends before its trials: whoever comes next begins them anew, from their checkpoints."""
        for one in list(self.open.values()):
            self._fail(one, "interrupted", lost=True)


def revive(study: optuna.Study) -> int:
    """Fail the trials whose process is dead and queue their parameters; how many there were."""
    dead = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.RUNNING and _dead(t)]
    revived = 0
    for trial in dead:
        study._storage.set_trial_user_attr(trial._trial_id, LOST, True)
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, RuntimeError):  # another process was faster
            continue
        study.enqueue_trial(trial.params)
        revived += 1
    return revived


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of those that were wished for: it ended, and not because its process died."""
    return trial.state.is_finished() and not trial.user_attrs.get(LOST)


def owner() -> list[Any]:
    """Who runs a trial: host, start of the machine, process, start of the process."""
    return [socket.gethostname(), boot(), os.getpid(), psutil.Process().create_time()]


def _dead(trial: FrozenTrial) -> bool:
    if OWNER not in trial.user_attrs:  # asked for a moment ago, or by a process that died in that moment
        return trial.datetime_start is None or time.time() - trial.datetime_start.timestamp() > DEAD_S
    host, started, pid, born = trial.user_attrs[OWNER]
    if host != socket.gethostname():
        return bool(time.time() - trial.user_attrs.get(SIGN, 0.0) > DEAD_S)
    try:
        return bool(started != boot() or abs(psutil.Process(pid).create_time() - born) > 1)
    except psutil.NoSuchProcess:
        return True


def _value(record: dict[str, Any], objective: str) -> float:
    return float(next(f["value"] for f in record["fid"] if objective == f"fid_{f['nfe']}step"))


def _at_rungs(store: Store, key: str, objective: str, every: int) -> dict[int, float]:
    """Rung -> value, of a cell's evaluations in the middle of its training."""
    lines = [line for line in store.folder(key).lines() if objective in line["metrics"]]
    return {line["images"] // every: line["metrics"][objective] for line in lines}
