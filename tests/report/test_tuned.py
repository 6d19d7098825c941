"""The part of a page about tuned rows: what is said where a row's own values are not in the search."""

from __future__ import annotations

import pytest
from helpers.made import Made
from helpers.tuned import put_studies

PLAN = """
  - list: [{label: ict}, {label: steady, set: {optimizer.lr: 0.02}}, {label: l2, set: {metric: squared_l2}}]
"""
RANGE, LIST = "optimizer.lr: {low: 0.001, high: 0.1, log: true}", "optimizer.lr: [0.001, 0.05]"
OWN = "optimizer.lr"


def made(folder, search, best, first=None, plan=PLAN, budgets=""):
    text = f"{plan}tune: {{search: {{{search}}}, trials: 2, seeds: [100]}}\n{budgets}"
    return put_studies(Made(folder, text), best, first)


@pytest.mark.parametrize(
    ("search", "others", "named"),
    [
        (RANGE, [], ""),
        (LIST, ["ict", "steady", "l2"], "ict, steady, l2"),
        ("optimizer.lr: {low: 0.0001, high: 0.01, log: true}", ["steady"], "steady"),
        (RANGE + ", metric: [pseudo_huber, l2]", ["l2"], "l2"),
    ],
)
@pytest.mark.parametrize("budgets", ["", "budgets: [1, 2]\n"])
def test_rows_that_are_not_tried_as_they_are_are_named(tmp_path, search, others, named, budgets):
    table = Made(tmp_path / "own", PLAN)
    rates = {row.label: row.recipe.flat() for row in table.experiment.rows}
    searched = [OWN, *(["metric"] if "metric:" in search else [])]
    own = {label: {k: flat[k] for k in searched} for label, flat in rates.items()}
    drawn = {OWN: 0.001, **({"metric": "l2"} if "metric:" in search else {})}
    first = {label: drawn if label in others else own[label] for label in own}
    page = made(tmp_path / "made", search, dict.fromkeys(own, drawn), first, budgets=budgets).page
    said = f"The search does not have those of {named}, so all trials there are the sampler's"
    assert (said in page) == bool(named)
    assert ("The search does not have" in page) == bool(named)


def test_before_any_trial_nothing_is_said(tmp_path):
    assert "The search does not have" not in made(tmp_path, LIST, {}).page
