"""Labels: what distinguishes two rows, in tables, claims and MLflow."""

from __future__ import annotations

import json

import pytest
from helpers.cli import call

from ablate.core.errors import SpecError
from ablate.planning import planner


def planned(folder, *entries):
    (folder / "f.yaml").write_text(json.dumps({"name": "f", "plan": [*entries]}))
    return [(row.label, row.keys) for row in planner.load(folder / "f.yaml").rows]


def rows(*labels):
    listed = [{"label": label, "set": {"metric.c": 0.1 * (i + 1)}} for i, label in enumerate(labels)]
    return {"list": listed}


@pytest.mark.parametrize("labels", [("a", "a"), ("a", "b", "a"), ("1.5", 1.5), ("a", "a", "a")])
def test_two_rows_of_a_list_that_differ_have_two_labels(labels, tmp_path):
    with pytest.raises(SpecError, match="two rows that differ have this label; give each its own") as caught:
        planned(tmp_path, rows(*labels))
    assert len(caught.value.problems) == 1
    done = call("run", "f.yaml", "--dry-run", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_equal_rows_may_share_a_label(tmp_path):
    found = planned(tmp_path, {"list": [{"label": "a"}]}, {"list": [{"label": "a"}]})
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "values", [[0.12345678, 0.12345679], [1e-5, 1.0000001e-5], [0.3, 0.30000000000000004]]
)
def test_labels_of_a_grid_show_the_whole_difference(values, tmp_path):
    (first, a), (second, b) = planned(tmp_path, {"grid": {"metric.c": values}})
    assert a != b
    assert first != second
    assert [float(label.split("=")[1]) for label in (first, second)] == values


def test_generated_labels_of_different_rows_are_numbered(tmp_path):
    ladders = [{"ladder": {"from": start, "to": "ct"}} for start in ("ict", "ect")]
    found = planned(tmp_path, *ladders)
    labels = {}
    for label, keys in found:
        assert labels.setdefault(label, keys) == keys
    assert any(label.endswith(" (2)") for label in labels)


@pytest.mark.parametrize("label", ["", " ", "\u200b", "\u00a0 \u2003", "\u202e"])
def test_a_label_has_something_to_see(label, tmp_path):
    with pytest.raises(SpecError, match="something to see"):
        planned(tmp_path, rows(label))
