"""What a terminal and `runs list` say of trials: a counter that reaches its end, and the labels of the file."""

from __future__ import annotations

import re

import pytest
from helpers.instant_cells import Instant

from ablate.core.files import read_json
from ablate.execution import runner
from ablate.execution.scheduler import Scheduler
from ablate.planning import planner, trials
from ablate.runs.store import NAMED, Store
from ablate.study import tuning as studies

FILE = """
name: made
seeds: [0]
plan: [{list: [{label: a}, {label: b, set: {metric: l2}}]}]
tune: {search: {optimizer.lr: {low: 0.0001, high: 0.1, log: true}}, trials: 6, seeds: [100]}
"""


def fid(recipe, share=1.0):
    return 10 + 1000 * recipe["optimizer.lr"] + 10 * (1 - share)


def tune(place, text=FILE, **more):
    (place / "made.yaml").write_text(text)
    experiment, store = planner.load(place / "made.yaml"), Store(place / "runs")
    executor = Instant(room=2, fid=fid, **more)
    made = studies.plans(experiment)
    assert studies.run(experiment, made, store, lambda s, follow, n: Scheduler(executor, s, follow)) == ""
    return len(executor.computed)


def counts(capsys):
    """Of all lines `[3/12] ...` of the last search."""
    return [
        (int(n), int(of)) for n, of in re.findall(r"^\[(\d+)/(\d+)\]", capsys.readouterr().err, re.MULTILINE)
    ]


@pytest.mark.parametrize(
    ("before", "text", "computed"),
    [
        ("", FILE, 12),
        ("", FILE.replace("metric: l2", "optimizer.lr: 0.001"), 7),  # all but the first trial are the same
        (FILE.replace("6", "4"), FILE.replace("100]", "100], sampler: RandomSampler"), 4),  # another study
        (FILE.replace("6", "4"), FILE, 4),  # the same study, with more trials
        ("", FILE.replace("100]", "100], pruner: {name: MedianPruner, n_startup_trials: 2}"), None),
    ],
)
def test_the_counter_ends_at_its_total(tmp_path, capsys, before, text, computed):
    if before:
        tune(tmp_path, before)
        capsys.readouterr()
    now = tune(tmp_path, text, rungs=4 if computed is None else 1)
    seen = counts(capsys)
    total = 4 if before and "Random" not in text else 12
    assert sorted({*seen} - {(0, total)}) == [(n, total) for n in range(1, total + 1)]
    assert computed in (None, now)


def test_a_recorded_cell_has_the_label_of_the_last_command(tmp_path):
    tune(tmp_path)
    for text in (FILE, FILE.replace("label: a", "label: new")):
        (tmp_path / "made.yaml").write_text(text)
        store = Store(tmp_path / "runs")
        experiment = trials.with_trials(
            studies.tuning.known(planner.load(tmp_path / "made.yaml"), store.path)
        )
        runner.name(experiment, store)
        labels = {read_json(p)["row"] for p in store.path.glob(f"*/{NAMED}")}
        first = experiment.rows[0].label
        assert labels == {f"{row}, trial {n}" for row in (first, "b") for n in range(6)}
