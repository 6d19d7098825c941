"""Where along the noise levels the loss lies: the numbers, and the figure of them."""

from __future__ import annotations

import pytest

from ablate.analysis.loss_levels import binned
from ablate.analysis.results import Results
from ablate.planning.planner import load
from ablate.report.figures.levels import Levels
from ablate.runs.store import Store

LONG = "A long label that begins as the other one does and ends in"


def made(folder, labels=("plain", "empty")):
    first, second = labels
    file = folder / "made.yaml"
    file.write_text(f"name: made\nplan: [{{list: [{{label: {first}}}, {{label: {second}, base: ct}}]}}]\n")
    return Results(load(file), Store(folder / "runs"))


@pytest.fixture
def results(tmp_path):
    return made(tmp_path)


def folder(results, row=0):
    return results.store.prepare(results.experiment.cells[results.experiment.rows[row].keys[0]])


def write(results, images, share):
    counts = {f"count_sigma_{i}": 10.0 for i in range(2)}
    losses = {f"loss_sigma_{i}": s / 10 for i, s in enumerate(share)}
    gaps = {f"gap_sigma_{i}": 0.5 for i in range(2)}
    folder(results).append(images // 16, images, counts | losses | gaps)


def test_shares_of_a_row_are_of_the_last_quarter_and_sum_to_one(results):
    write(results, 100, (1.0, 99.0))  # early: not counted
    write(results, 1000, (3.0, 1.0))
    found = binned(results.experiment.rows[0], results.store)
    assert found["share"].tolist() == pytest.approx([0.75, 0.25])
    assert found["gap"].tolist() == pytest.approx([0.5, 0.5])


def test_rows_without_diagnostics_are_left_out(results, tmp_path):
    path = tmp_path / "levels.png"
    assert not Levels().draw(results, path)
    assert not path.exists()
    assert len(binned(results.experiment.rows[1], results.store)) == 0
    write(results, 1000, (3.0, 1.0))
    assert Levels().draw(results, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_long_labels_that_begin_alike_stay_two_rows(tmp_path):
    results = made(tmp_path, (f"{LONG} a", f"{LONG} b"))
    for row in (0, 1):
        measures = dict.fromkeys(("count", "loss", "gap", "gradient"), 1.0)
        folder(results, row).append(1, 16, {f"{name}_sigma_0": value for name, value in measures.items()})
    assert Levels().draw(results, tmp_path / "levels.png")


@pytest.mark.filterwarnings("error")
def test_empty_bins_and_zeros_cause_no_warning(results, tmp_path):
    seen = {"count_sigma_0": 4.0, "loss_sigma_0": 0.0, "gap_sigma_0": 0.0, "gradient_sigma_0": 0.0}
    folder(results).append(1, 16, seen | {"count_sigma_1": 0.0})
    assert Levels().draw(results, tmp_path / "levels.png")
