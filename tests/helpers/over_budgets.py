"""An experiment with budgets, computed as `run` does it, but with FIDs that a test makes up."""

from __future__ import annotations

import json

from ablate.analysis import budgets
from ablate.planning.planner import load
from ablate.report.merged import merged
from ablate.runs.store import Store
from helpers.recorded import put

TEXT = """
name: made
seeds: [0, 1, 2]
budgets: [0.5, 1, 2, 4]
plan: [{list: [{label: ict}, {label: l2, set: {metric: squared_l2}}, {label: wide, set: {metric.c: 0.1}}]}]
claims:
  - {id: P5, says: Pseudo-Huber is better, better: {row: ict}, worse: {row: l2}}
  - {id: c, says: a large c is better, better: {row: wide}, worse: {row: ict}}
"""
JITTER = (1.0, 1.03, 0.97)


def fid(row, budget, seed):
    """ict falls as a power of the images; l2 is as good at first and stays behind; wide is 20 % worse everywhere."""
    base = 20 * budget**-0.4
    return JITTER[seed] * base * {"ict": 1.0, "l2": (2 * budget) ** 0.3, "wide": 1.2}[row]


class Run:
    """An experiment whose cells a test computes."""

    def __init__(self, folder, text=TEXT):
        (folder / "made.yaml").write_text(text)
        self.experiment, self.store = load(folder / "made.yaml"), Store(folder / "runs")
        self.reports = folder / "reports"
        self.folder = self.reports / "made"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.said = []

    def compute(self, *wanted, fid=fid):
        """Compute the budgets in the order in which `run` does; the stages that were begun."""
        stages, begun = budgets.stages(self.experiment, self.store, self.folder, self.said.append), []
        for budget in self.experiment.budgets:
            if wanted and budget not in wanted:
                break
            part = next(stages)
            begun.append(part.profile.images / self.experiment.profile.images)
            for row in part.rows:
                for seed, key in enumerate(row.keys):
                    if not self.store.record(key):
                        put(self.store, part.cells[key], fid(row.label, budget, seed))
        return begun

    @property
    def file(self):
        return self.folder / budgets.FILE

    @property
    def lines(self):
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    @property
    def results(self):
        return merged(self.experiment, self.store, self.folder)
