"""Cost before compute: sums over cells, nothing written, rows left out by their priority."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ablate.cli import app
from ablate.core.errors import SpecError
from ablate.core.files import write_json
from ablate.cost import estimate
from ablate.cost.estimate import Timing
from ablate.cost.flops import count_flops
from ablate.planning import planner
from ablate.runs.record import blank
from ablate.runs.store import Store, describe

FILE = """
name: some
seeds: [0, 1]
set: {network.attention: []}
plan:
  - grid: {metric.c: [0.1, 0.2]}
  - grid: {network.width: [8, 24]}
    priority: 1
  - list: [{label: l1, set: {metric: l1}}]
    priority: 2
"""
SMALL = {"profile.images": 512, "profile.evaluation.samples": 64}
TIMING = Timing(
    start_s=1.0, step_s=0.5, sample_s=0.01, measure_s=0.02, peak_mb=100.0, checkpoint_mb=5.0, model_mb=2.0
)


@pytest.fixture
def experiment(tmp_path):
    (tmp_path / "some.yaml").write_text(FILE)
    return planner.load(tmp_path / "some.yaml", overrides=SMALL)


def test_every_distinct_network_is_a_group_and_all_cells_are_in_one(experiment, tmp_path):
    found = estimate.groups(experiment, tmp_path / "runs")
    assert sorted(len(g.cells) for g in found) == [2, 2, 6]
    assert {c.key for g in found for c in g.cells} == set(experiment.cells)
    assert not (tmp_path / "runs").exists()


def test_flops_are_the_sum_over_cells_of_what_the_network_takes(experiment, tmp_path):
    answer = estimate.listing(estimate.groups(experiment, tmp_path / "runs"))
    each = [count_flops(c.recipe, c.profile)["flops_forward"] for c in experiment.cells.values()]
    assert answer["flops_training"] == 4 * 512 * sum(each)
    assert answer["flops_sampling"] == 64 * 3 * sum(each)  # one step, then two
    assert answer["flops_missing"] == answer["flops_training"] + answer["flops_sampling"]


def test_what_is_recorded_costs_nothing(experiment, tmp_path):
    store = Store(tmp_path / "runs")
    for cell in list(experiment.cells.values())[:4]:
        write_json(store.prepare(cell).record, blank(describe(cell), "finished"))
    assert estimate.listing(estimate.groups(experiment, store.path))["missing"] == len(experiment.cells) - 4


def test_seconds_of_a_cell(experiment):
    cell = next(iter(experiment.cells.values()))
    assert TIMING.cell_s(cell) == pytest.approx(1.0 + 32 * 0.5 + 64 * (0.01 * 3 + 0.02 * 2))


def test_hours_are_shared_by_workers_but_a_cell_is_not(experiment, tmp_path):
    found = estimate.groups(experiment, tmp_path / "runs")
    around = estimate.AROUND_S / 3600  # of the command itself
    one, two, many = (estimate.hours(found, [TIMING] * 3, n) - around for n in (1, 2, 1000))
    assert one == pytest.approx(2 * two)
    assert many == pytest.approx(TIMING.cell_s(found[0].cells[0]) / 3600)


def test_hours_decide_which_priorities_are_kept(experiment):
    def needed(kept):
        return float(len(kept.cells))

    assert estimate.within(experiment, needed, 100.0) is experiment
    kept = estimate.within(experiment, needed, 8.0)
    assert {r.label for r in kept.rows} == {r.label for r in experiment.rows} - {"l1"}
    assert set(kept.cells) == {key for r in kept.rows for key in r.keys}
    assert len(estimate.within(experiment, needed, 4.0).rows) == 2
    assert "3 of 5 rows are left out" in estimate.within(experiment, needed, 4.0).notes[-1]
    with pytest.raises(SpecError, match="--max-hours 3: the experiment needs 4 hours"):
        estimate.within(experiment, needed, 3.0)


def test_a_priority_changes_no_key_and_must_be_a_number(experiment, tmp_path):
    (tmp_path / "other.yaml").write_text(FILE.replace("    priority: 1\n", ""))
    assert set(planner.load(tmp_path / "other.yaml", overrides=SMALL).cells) == set(experiment.cells)
    (tmp_path / "other.yaml").write_text(FILE.replace("priority: 1", "priority: high"))
    with pytest.raises(SpecError, match=r"plan\[1\].priority: needs a whole number, not 'high'"):
        planner.load(tmp_path / "other.yaml")


def test_a_dry_run_tells_and_writes_nothing(experiment, tmp_path):
    arguments = ["run", str(experiment.file), "--dry-run", "--json", "--runs-dir", str(tmp_path / "runs")]
    answer = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert (answer["cells"], answer["missing"]) == (10, 10)
    assert answer["flops_training"] > 0
    assert not (tmp_path / "runs").exists()


def test_a_timing_measures_what_a_cell_takes(experiment, tmp_path):
    """A process of its own, so that its peak memory is its own."""
    cell = next(iter(experiment.cells.values()))
    command = [sys.executable, "-m", "ablate.cost.estimate", str(Store(tmp_path / "runs").cache), "1", "cpu"]
    config = json.dumps(describe(cell))
    done = subprocess.run(command, input=config, capture_output=True, text=True, check=True)
    t = Timing(**json.loads(done.stdout.splitlines()[-1]))
    assert all(value > 0 for value in vars(t).values())
    assert t.model_mb == pytest.approx(4e-6 * count_flops(cell.recipe, cell.profile)["parameters"])
    assert t.checkpoint_mb > 3 * t.model_mb  # weights, average and two moments
    assert t.peak_mb > 100


@pytest.mark.slow
def test_what_ends_a_timing_is_one_line(experiment, tmp_path):
    config = json.dumps({**describe(next(iter(experiment.cells.values()))), "imports": ["no_such_module"]})
    command = [sys.executable, "-m", "ablate.cost.estimate", str(tmp_path), "1", "cpu"]
    done = subprocess.run(command, input=config, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
