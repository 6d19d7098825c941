from __future__ import annotations

import pytest

from ablate.analysis.frame import frame, records
from ablate.planning.planner import load
from ablate.report.figures import levels
from ablate.runs.store import Store


@pytest.fixture
def store(tmp_path):
    (tmp_path / "made.yaml").write_text(
        "name: made\nplan: [{list: [{label: plain}, {label: empty, base: ct}]}]\n"
    )
    return Store(tmp_path / "runs"), load(tmp_path / "made.yaml")


def write(store, experiment, images, share):
    folder = store.prepare(experiment.cells[experiment.rows[0].keys[0]])
    counts = {f"count_sigma_{i}": 10.0 for i in range(2)}
    means = {f"loss_sigma_{i}": s / 10 for i, s in enumerate(share)} | {
        f"gap_sigma_{i}": 0.5 for i in range(2)
    }
    folder.append(images // 16, images, counts | means)


def test_shares_of_a_row_are_of_the_last_quarter_and_sum_to_one(store):
    runs, experiment = store
    write(runs, experiment, 100, (1.0, 99.0))  # early: not counted
    write(runs, experiment, 1000, (3.0, 1.0))
    found = levels.binned(experiment.rows[0], runs)
    assert found["share"].tolist() == pytest.approx([0.75, 0.25])
    assert found["gap"].tolist() == pytest.approx([0.5, 0.5])


def test_rows_without_diagnostics_are_left_out(store, tmp_path):
    runs, experiment = store
    table = frame(experiment, records(experiment, runs))
    assert not levels.levels(experiment, runs, table, tmp_path / "levels.png")
    assert len(levels.binned(experiment.rows[1], runs)) == 0
    write(runs, experiment, 1000, (3.0, 1.0))
    assert levels.levels(experiment, runs, table, tmp_path / "levels.png")
    assert (tmp_path / "levels.png").read_bytes().startswith(b"\x89PNG")


def test_long_labels_that_begin_alike_stay_two_rows(tmp_path):
    (tmp_path / "made.yaml").write_text(
        "name: made\nplan: [{list: [{label: A long label that begins as the other one does and ends in a},"
        " {label: A long label that begins as the other one does and ends in b, base: ct}]}]\n"
    )
    runs, experiment = Store(tmp_path / "runs"), load(tmp_path / "made.yaml")
    for row in experiment.rows:
        folder = runs.prepare(experiment.cells[row.keys[0]])
        folder.append(
            1, 16, {"count_sigma_0": 1.0, "loss_sigma_0": 1.0, "gap_sigma_0": 1.0, "gradient_sigma_0": 1.0}
        )
    table = frame(experiment, records(experiment, runs))
    assert levels.levels(experiment, runs, table, tmp_path / "levels.png")


@pytest.mark.filterwarnings("error")
def test_empty_bins_and_zeros_warn_nobody(store, tmp_path):
    runs, experiment = store
    folder = runs.prepare(experiment.cells[experiment.rows[0].keys[0]])
    seen = {"count_sigma_0": 4.0, "loss_sigma_0": 0.0, "gap_sigma_0": 0.0, "gradient_sigma_0": 0.0}
    folder.append(1, 16, seen | {"count_sigma_1": 0.0})
    table = frame(experiment, records(experiment, runs))
    assert levels.levels(experiment, runs, table, tmp_path / "levels.png")
