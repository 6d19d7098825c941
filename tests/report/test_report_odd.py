"""Experiments that are half finished, of one seed, or all lost: a sensible report, and nothing on stderr."""

from __future__ import annotations

import re

import pytest
from helpers.made import LADDER, Made

PLAN = LADDER + "\n  - grid: {metric.c: [0.001, 0.01, 0.1, 1.0]}\n"
CLAIMS = """
claims:
  - {id: A, says: "ict beats ct", better: {row: ict}, worse: {row: ct}}
  - {id: V, says: "a valley", valley: metric.c, inside: [0.01, 0.1]}
  - {id: M, says: "more is better", monotone: metric.c}
"""


def read(made):
    folder = made.write()
    text = (folder / "table.md").read_text()
    assert not re.search(r"\b(nan|inf|None)\b", text), re.findall(r".*\b(?:nan|inf|None)\b.*", text)
    assert "undecided" in text
    return {p.name for p in folder.iterdir()}, text


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seeds", ["[0]", "[0, 1]"])
def test_half_finished(tmp_path, seeds):
    made = Made(tmp_path, PLAN + CLAIMS, seeds)
    for i in range(0, len(made.experiment.rows), 2):
        made.put(i, 300.0 + i, 310.0)
    made.put(1, 0, 0, state="diverged", reason="at step 3").put(3, 0, 0, state="failed", reason="x")
    made.pictures(0)
    names, text = read(made)
    assert {"fid.png", "curves.png", "samples.png"} <= names
    assert all(word in text for word in ("not run", "diverged (step 3)", "failed"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("state", ["diverged", "failed", "missing"])
def test_nothing_came_of_it(tmp_path, state):
    made = Made(tmp_path, PLAN + CLAIMS, "[0, 1]")
    for i in range(len(made.experiment.rows) if state != "missing" else 0):
        made.put(i, 0, 0, state=state, reason="the loss is not finite at step 7")
    names, text = read(made)
    assert not any(name.endswith(".png") for name in names)
    assert ("not run" if state == "missing" else state) in text
