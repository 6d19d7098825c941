"""Which of a record's entries a table shows of a metric."""

from __future__ import annotations

import pytest

from ablate.evaluation.metrics import of_training


def entry(**more):
    return {
        "nfe": 1,
        "n": 64,
        "extractor": "classifier-1",
        "reference": "heldout-64-1",
        "sigmas": [80.0],
        "weights": "ema",
        "value": 1.0,
    } | more


def test_what_was_measured_at_the_end_of_training_is_never_replaced():
    first, later = entry(value=1.0), entry(value=2.0, again=True)
    record = {"fid": [later, first], "kid": [first, later]}
    assert of_training(record, "fid") == [first]
    assert of_training(record, "kid") == [first]


def test_a_metric_that_was_added_later_has_the_entries_that_were_measured_as_fid_was():
    two = {"nfe": 2, "sigmas": [80.0, 0.4]}
    own = [entry(again=True), entry(again=True, **two)]
    record = {"fid": [entry(), entry(**two)], "own": [*own, entry(again=True, n=1000)]}
    assert of_training(record, "own") == own


@pytest.mark.parametrize(
    "other",
    [
        {"n": 1000},
        {"extractor": "inception"},
        {"reference": "heldout-64-2"},
        {"sigmas": [40.0]},
        {"weights": "raw"},
        {"nfe": 2},
    ],
    ids=str,
)
def test_an_entry_that_was_measured_otherwise_is_not_shown_beside_fid(other):
    assert of_training({"fid": [entry()], "own": [entry(again=True, **other)]}, "own") == []


@pytest.mark.parametrize("record", [{}, {"fid": None}, {"own": [entry(again=True)]}], ids=str)
def test_without_fid_of_training_nothing_is_shown(record):
    assert of_training(record, "own") == of_training(record, "fid") == []
