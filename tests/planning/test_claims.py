"""Claims: which rows they are about, and what is said of mistakes."""

from __future__ import annotations

import pytest

from ablate.core.errors import SpecError
from ablate.planning.claims import Claim, ask
from ablate.planning.planner import load

PLAN = """
  - leave_one_out: {from: ict, to: ct}
  - grid: {teacher: [none, {name: fixed, mu: 0.5}, {name: fixed, mu: 0.9}], weighting: [uniform, inverse_gap]}
  - grid: {metric.c: [0.0001, 0.001, 0.1, 1.0]}
  - grid: {curriculum: [exponential, sqrt, constant]}
"""


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    file = tmp_path_factory.mktemp("claims") / "made.yaml"
    file.write_text(
        f"name: made\nplan:{PLAN}claims:\n"
        "  - {id: P4, says: s, better: {teacher: none}, worse: {teacher: adaptive}}\n"
    )
    return load(file)


def put(planned, **fields):
    return ask(
        Claim.model_validate({"id": "x", "says": "s", **fields}, strict=True), planned.rows, planned.base
    )


def labels(planned, question):
    return [
        [(planned.rows[a.row].label, planned.rows[b.row].label) for a, b in contexts]
        for contexts in question.duels
    ]


def test_sides_meet_where_all_else_is_equal(planned):
    found = labels(planned, put(planned, better={"teacher": "none"}, worse={"teacher": "adaptive"}))
    assert found == [[("ict", "ict with teacher=adaptive")]]
    pairs = labels(
        planned, put(planned, better={"weighting": "uniform"}, worse={"weighting": "inverse_gap"})
    )[0]
    assert (
        len(pairs) == 3
    )  # without a teacher (the leave-one-out's row too, equal keys once), and with either


def test_a_shared_value_is_a_condition(planned):
    better = {"weighting": "uniform", "teacher.mu": 0.5}
    worse = {"weighting": "inverse_gap", "teacher.mu": 0.5}
    assert len(labels(planned, put(planned, better=better, worse=worse))[0]) == 1


def test_a_list_is_an_alternative_each(planned):
    worse = {"curriculum": ["sqrt", "constant"]}
    found = labels(planned, put(planned, better={"curriculum": "exponential"}, worse=worse))
    assert [len(contexts) for contexts in found] == [1, 1]


def test_rows_by_label_and_two_measures_of_one_row(planned):
    better, worse = {"row": "ict", "nfe": 2}, {"row": "ict"}
    ((pair,),) = put(planned, better=better, worse=worse).duels
    assert (pair[0].row, pair[0].nfe, pair[1].nfe) == (pair[1].row, 2, 1)
    assert labels(planned, put(planned, better={"row": "ict"}, worse={"row": "ict with metric=squared_l2"}))


def test_a_valley_lies_around_the_base(planned):
    question = put(planned, valley="metric.c", around=3.0)
    assert [value for value, _ in question.sweep] == pytest.approx([0.0001, 0.001, 0.00432, 0.1, 1.0])
    assert question.bounds == pytest.approx((0.00144, 0.01296))
    assert question.rows == {s.row for _, s in question.sweep}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "exactly one is needed"),
        ({"better": {"teacher": "none"}}, "exactly one is needed"),
        ({"valley": "metric.c"}, "inside or around"),
        ({"valley": "metric.c", "inside": [1.0, 0.1]}, "ascending bounds"),
        ({"valley": "metric.c", "inside": [0.2, 0.3]}, "no value of metric.c lies in"),
        ({"valley": "metric.cc", "around": 2.0}, "did you mean 'metric.c'"),
        ({"monotone": "metric.c", "inside": [0.05, 2.0]}, "needs three values"),
        ({"monotone": "noise.p_std"}, "three rows that differ"),
        ({"better": {"teachr": "none"}, "worse": {"teacher": "adaptive"}}, "did you mean 'teacher'"),
        ({"better": {"teacher": "nine"}, "worse": {"teacher": "adaptive"}}, "no row has teacher=nine"),
        ({"better": {"row": "itc"}, "worse": {"row": "ict"}}, "did you mean 'ict'"),
        (
            {"better": {"teacher": "none"}, "worse": {"teacher": "adaptive"}, "metric": "kid_1step"},
            "fid_1step",
        ),
        ({"better": {"teacher": "none"}, "worse": {"nfe": "two"}}, "a number of evaluations"),
        (
            {"better": {"metric.c": 0.1}, "worse": {"weighting": "uniform", "teacher.mu": 0.5}},
            "no two rows differ in",
        ),
    ],
)
def test_mistakes_are_one_line(planned, fields, told):
    with pytest.raises((SpecError, ValueError), match=told):
        put(planned, **fields)


def test_a_file_tells_claims_without_rows(tmp_path):
    file = tmp_path / "bad.yaml"
    start = "name: bad\nplan: [{grid: {teacher: [none]}}]\n"
    file.write_text(
        start + "claims: [{id: P4, says: s, better: {teacher: none}, worse: {teacher: adaptve}}]\n"
    )
    with pytest.raises(SpecError) as caught:
        load(file)
    assert "claims[0] (P4): worse: no row has teacher=adaptve" in str(caught.value)
    assert load(file, overrides={"teacher": "none"}).notes  # no mistake of the file's: it is said and goes on
    file.write_text(start + "claims: [{id: P4, say: s, better: {teacher: none}, worse: {teacher: none}}]\n")
    with pytest.raises(SpecError, match="say: unknown key"):
        load(file)
    file.write_text(start + "seeds: {min: 3, max: 2, until: decided}\n")
    with pytest.raises(SpecError, match="min <= max must hold"):
        load(file)
    file.write_text(start + "seeds: {min: 2, max: 4, until: decided}\n")
    with pytest.raises(SpecError, match="there are no claims"):
        load(file)
    file.write_text(start + "seeds: {min: 2, mix: 4, until: decided}\n")
    with pytest.raises(SpecError, match="mix: unknown key"):
        load(file)
