"""The first sentence of a page, in every state that a table can have."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from helpers.made import LIST, Made
from helpers.tuned import put_studies

from ablate.report.opening import sentence, verdict_counts
from ablate.report.summary import _lead

CLAIM = '  - {{id: {0}, says: "{0}", better: {{row: wide}}, worse: {{row: {1}}}}}\n'
ONE = "\n  - list: [{label: alone}]\n"


def said(folder, *rows, plan=LIST, claims=(), seeds="[0, 1]", state="diverged", **more):
    """The sentence; a row is the values of its seeds, `None` for one that diverged or failed."""
    text = (
        "claims:\n" + "".join(CLAIM.format(f"C{i}", other) for i, other in enumerate(claims))
        if claims
        else ""
    )
    made = Made(folder, plan + text, seeds)
    for i, values in enumerate(rows):
        if None in values:
            made.put(i, *(0 for _ in values), state=state, reason="x")
        for seed, value in enumerate(values):
            if value is not None:
                one = made.experiment.rows[i].keys[seed]
                made.experiment.rows[i] = replace(row := made.experiment.rows[i], keys=(one,))
                made.put(i, value, **more)
                made.experiment.rows[i] = row
    return sentence(made.results)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [(20.0, 20.4), (10.0, 10.2), (15.0, 15.5)],
            "The lowest one-step FID of 3 rows is 10.10 (wide), 50 % below plain.",
        ),
        ([(900.0, 910.0), (9.0, 9.1), (15.0, 15.5)], "is 9.05 (wide), 100 times lower than plain."),
        ([(20.0, 20.1), (19.0, 19.1), (40.0, 41.0)], "is 19.05 (wide), 5 % below plain."),
        ([(20.0, 30.0), (30.0, 19.0), (40.0, 50.0)], "is 24.50 (wide), 2 % below plain (not significant)."),
        ([(20.0, 30.0), (24.99, 25.0), (40.0, 50.0)], "is 24.99 (wide), 0.02 % below plain (not significant)."),
        ([(10.0, 10.4), (20.0, 20.2), (15.0, 15.5)], "The lowest one-step FID of 3 rows is 10.20 (plain)."),
        ([(20.0, 22.0), (21.0, 21.0), (25.0, 25.1)], "is 21.00 (plain and wide)."),
        ([(30.0, 30.1), (21.0, 21.0), (22.0, 20.0)], "is 21.00 (wide and wider), 30 % below plain."),
        ([(0.0, 0.0), (0.0, 0.0), (1.0, 1.0)], "(plain and wide)."),
        ([(20.0,), (10.0,), (15.0,)], "After 3 of 6 cells, the lowest one-step FID of 3 rows is 10.00 (wide), 50 % "
         "below plain (one seed)."),
        ([(20.0, 20.4)], "After 2 of 6 cells, the one-step FID is 20.20 (plain)."),
        ([(20.0, 20.4), (5.0, None), (15.0, 15.1)], "one-step FID of 3 rows is 15.05 (wider), 25 % below plain."),
        ([(None, 20.4), (5.0, None), (None, 15.1)], "is 5.00 (wide) from seeds that did not diverge or fail, 75 % "
         "below plain (one seed)."),
        ([(None, None), (5.0, 5.1), (6.0, 6.1)], "The lowest one-step FID of 2 rows is 5.05 (wide)."),
        ([], "No row has a FID yet: 6 cells, 6 not run."),
        ([(None, None)] * 3, "No row has a FID yet: 6 cells, 6 diverged."),
        ([(None, None)], "No row has a FID yet: 6 cells, 2 diverged, 4 not run."),
    ],
)  # fmt: skip
def test_the_sentence_is_true(tmp_path, rows, words):
    assert said(tmp_path, *rows).endswith(words)


def test_all_failed(tmp_path):
    text = said(tmp_path, *[(None, None)] * 3, state="failed")
    assert text == "No row has a FID yet: 6 cells, 6 failed."


def test_one_row(tmp_path):
    assert said(tmp_path, (7.0, 8.0), plan=ONE) == "The one-step FID is 7.50 (alone)."


def test_fids_of_two_extractors_are_not_compared(tmp_path):
    made = (
        Made(tmp_path, LIST).put(0, 30.0, 31.0, extractor="inception-x").put(1, 20.0, 22.0).put(2, 40.0, 41.0)
    )
    text = sentence(made.results)
    assert "lowest one-step FID of 2 rows by classifier-1a2b3c4d, n=1000 is 21.00 (wide)" in text
    assert "one-step FID by inception-x, n=1000 is 30.50 (plain)" in text
    assert text.endswith("FIDs of different columns do not compare.")
    assert "below" not in text


def test_a_table_of_two_steps_alone(tmp_path):
    assert "lowest two-step FID of 2 rows is 5.00" in said(tmp_path, (20.0,), (10.0,), nfes=(2,))


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        (["plain"], "the claim is supported."),
        (["plain", "wider"], "both claims are supported."),
        (["plain", "wider", "plain"], "all 3 claims are supported."),
    ],
)
def test_claims_are_counted(tmp_path, claims, words):
    rows = [(20.0, 20.01, 20.02), (10.0, 10.01, 10.02), (15.0, 15.01, 15.0)]
    assert said(tmp_path, *rows, claims=claims, seeds="[0, 1, 2]").endswith(f"; {words}")


class Verdict:
    def __init__(self, state):
        self.state = state


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ([], []),
        (["not run"], ["the claim is not run"]),
        (["undecided"] * 2, ["both claims are undecided"]),
        (["supported"] * 3 + ["undecided"], ["3 of 4 claims are supported, 1 is undecided"]),
        (
            ["undecided", "contradicted", "not run", "supported", "undecided"],
            ["1 of 5 claims is supported, 1 is contradicted, 2 are undecided, 1 is not run"],
        ),
    ],
)
def test_counts_of_verdicts(states, words):
    assert verdict_counts(map(Verdict, states)) == words


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({}, "Of 2 claims, 2 have no answer yet."),
        (
            {"A": ["supported", "undecided"]},
            "Of 2 claims, 1 is supported on at least one profile, 1 has no answer yet.",
        ),
        (
            {"A": ["supported", "contradicted"], "B": ["contradicted"]},
            "Of 2 claims, 1 is contradicted, 1 is supported on one and contradicted on another.",
        ),
    ],
)  # fmt: skip
def test_a_summary_begins_with_its_claims(found, words):
    answers = {name: {str(i): Verdict(s) for i, s in enumerate(states)} for name, states in found.items()}
    assert _lead(answers, {"A": "a", "B": "b"}) == words


def test_labels_are_no_markup(tmp_path):
    plan = '\n  - list: [{label: "a*b* [x]"}, {label: c, set: {metric.c: 0.1}}]\n'
    assert r"(a\*b\* \[x\])" in said(tmp_path, (7.0,), (8.0,), plan=plan)


def test_the_page_begins_with_it_then_the_picture_claims_tables_figures(tmp_path):
    made = Made(tmp_path, LIST + "claims:\n" + CLAIM.format("C", "plain"), "[0, 1]")
    for i in range(3):
        made.put(i, 30.0 + i, 31.0 + i).pictures(i)
    parts = (made.write() / "table.md").read_text().split("\n\n")
    assert parts[1] == sentence(made.results)
    assert parts[2] == "![Samples](samples.png)"
    heads = [part for part in parts if re.match("## ", part)]
    assert heads[:3] == ["## Claims", "## Recipes", "## Figures"]
    assert sum("![Samples]" in part for part in parts) == 1


TUNED = """
  - list: [{label: short}, {label: wide, set: {metric.c: 0.1}}, {label: wider, set: {metric.c: 0.2}}]
tune: {search: {optimizer.lr: {low: 0.001, high: 0.1, log: true}}, trials: 2, seeds: [100]}
"""


@pytest.mark.parametrize(
    ("tuned", "rows", "words"),
    [
        (("short", "wide", "wider"), [(20.0, 20.1), (19.0, 19.1), (30.0, 30.1), (15.0, 15.1), (10.0, 10.1)],
         "is 10.05 (wide (tuned)), 33 % below short (tuned)."),
        (("short", "wide", "wider"), [(20.0, 20.1), (9.0, 9.1), (30.0, 30.1), (15.0, 15.1), (10.0, 10.1)],
         "is 9.05 (wide), 55 % below short."),
        (("short", "wide"), [(20.0, 20.1), (19.0, 19.1), (30.0, 30.1), (5.0, 5.1), (10.0, 10.1)],
         "is 5.05 (short (tuned))."),
        (("wide",), [(20.0, 20.1), (19.0, 19.1), (30.0, 30.1), (10.0, 10.1)], "is 10.05 (wide (tuned))."),
    ],
)  # fmt: skip
def test_a_tuned_row_is_compared_with_the_first_row_as_it_is_tuned(tmp_path, tuned, rows, words):
    made = put_studies(Made(tmp_path, TUNED), {label: {"optimizer.lr": 0.01} for label in tuned})
    for i, values in enumerate(rows):
        made.put(i, *values)
    assert sentence(made.results).endswith(words)


SIX = [f"{{label: c{i}, set: {{metric.c: 0.{i}}}}}" for i in range(1, 7)]
BY_SIX = f"\n  - list: [{{label: plain}}, {', '.join(SIX)}]\n"
NEAR = [(30.0, 31.0, 30.5), (29.0, 29.4, 29.5)]  # p = 0.03 alone


@pytest.mark.parametrize(
    ("plan", "rows", "unsure"),
    [
        (BY_SIX, [*NEAR, *[(30.0, 33.0, 30.6 + i) for i in range(5)]], True),
        (BY_SIX, NEAR, False),  # the only change
        # the table compares each row with the one above, so the rows among which it is the lowest count
        ("\n  - ladder: {from: ct, to: ict}\n", [NEAR[0], *[(40.0 + i, 41.0 + i, 40.6 + i) for i in range(8)]], True),
    ],
)  # fmt: skip
def test_the_lowest_of_many_rows_is_tested_as_such(tmp_path, plan, rows, unsure):
    made = Made(tmp_path, plan, "[0, 1, 2]")
    if "ladder" in plan:
        rows = [*rows[: len(made.experiment.rows) - 1], NEAR[1]]
    for i, values in enumerate(rows):
        made.put(i, *values)
    text = sentence(made.results)
    assert "4 % below" in text
    assert text.endswith("(not significant).") == unsure
    if "list" in plan:  # as in the table
        assert (made.results.versus[1].corrected > 0.05) == unsure
