"""Claims: which rows answer them, what a mistake says, and how a plugin adds a kind."""

from __future__ import annotations

import sys

import pytest
from helpers.examples import example

from ablate.analysis import verdicts
from ablate.core.errors import SpecError
from ablate.planning import claims
from ablate.planning.claims.base import Claim
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


def claim(**fields):
    return claims.read({"id": "x", "says": "s", **fields}, "claims[0]")


def labels(planned, **fields):
    """Of each alternative the labels of the rows that are compared."""
    return [
        [(planned.rows[a.row].label, planned.rows[b.row].label) for a, b in contexts]
        for contexts in claim(**fields).pairs(planned.rows)
    ]


def test_kinds_are_the_modules_of_the_folder():
    assert {"better", "valley", "monotone"} <= set(claims.kinds())


def test_sides_meet_where_all_else_is_equal(planned):
    found = labels(planned, better={"teacher": "none"}, worse={"teacher": "adaptive"})
    assert found == [[("ict", "ict with teacher=adaptive")]]
    pairs = labels(planned, better={"weighting": "uniform"}, worse={"weighting": "inverse_gap"})[0]
    assert len(pairs) == 3  # without a teacher (two rows of equal keys count once), and with either


def test_a_shared_value_is_a_condition(planned):
    better = {"weighting": "uniform", "teacher.mu": 0.5}
    worse = {"weighting": "inverse_gap", "teacher.mu": 0.5}
    assert len(labels(planned, better=better, worse=worse)[0]) == 1


def test_a_list_is_an_alternative_each(planned):
    found = labels(planned, better={"curriculum": "exponential"}, worse={"curriculum": ["sqrt", "constant"]})
    assert [len(contexts) for contexts in found] == [1, 1]


def test_rows_by_label_and_two_measures_of_one_row(planned):
    two_steps = claim(better={"row": "ict", "nfe": 2}, worse={"row": "ict"})
    ((pair,),) = two_steps.pairs(planned.rows)
    assert (pair[0].row, pair[0].nfe, pair[1].nfe) == (pair[1].row, 2, 1)
    assert two_steps.rows(planned.rows, planned.base) == {pair[0].row}
    assert labels(planned, better={"row": "ict"}, worse={"row": "ict with metric=squared_l2"})


def test_a_valley_lies_around_the_base(planned):
    valley = claim(valley="metric.c", around=3.0)
    points, low, high = valley.sweep(planned.rows, planned.base)
    assert [value for value, _ in points] == pytest.approx([0.0001, 0.001, 0.00432, 0.1, 1.0])
    assert (low, high) == pytest.approx((0.00144, 0.01296))
    assert valley.rows(planned.rows, planned.base) == {sample.row for _, sample in points}


def test_a_base_without_the_field_has_no_range_around_it(planned):
    with pytest.raises(SpecError, match=r"around: metric\.c is no number in the base recipe"):
        claim(valley="metric.c", around=3.0).rows(planned.rows, {})


def test_a_monotone_field_has_the_rows_inside(planned):
    inside = claim(monotone="metric.c", inside=[0.001, 0.1])
    assert [value for value, _ in inside.sweep(planned.rows)] == pytest.approx([0.001, 0.00432, 0.1])
    assert len(inside.rows(planned.rows, planned.base)) == 3


SIDES = {"better": {"teacher": "none"}, "worse": {"teacher": "adaptive"}}
WRONG = [
    ({}, r"claims\[0\]: needs exactly one of better, .*monotone, .*but has none"),
    ({**SIDES, "valley": "metric.c", "around": 2.0}, "needs exactly one of .*, but has better, valley"),
    ({"bettr": {}, "worse": {}}, r"claims\[0\].bettr: unknown key; did you mean 'better'"),
    ({"better": {"teacher": "none"}}, r"claims\[0\].worse: needs a value"),
    ({**SIDES, "ration": 2.0}, r"claims\[0\].ration: unknown key; did you mean 'ratio'"),
    ({**SIDES, "ratio": 0.5}, r"claims\[0\].ratio: '0.5': .*greater than or equal to 1"),
    ({**SIDES, "metric": "kid_1step"}, r"claims\[0\].metric: needs fid_1step, .* not 'kid_1step'"),
    ({**SIDES, "worse": {"nfe": "two"}}, r"claims\[0\].worse: nfe: needs a number of evaluations, not 'two'"),
    ({"valley": "metric.c"}, "`inside` or `around`"),
    ({"valley": "metric.c", "around": 2.0, "inside": [0.1, 1.0]}, "`inside` or `around`"),
    ({"valley": "metric.c", "inside": [1.0, 0.1]}, r"claims\[0\].inside: needs \[low, high\]"),
    ({"valley": "metric.c", "inside": [0.2, 0.3]}, "no value of metric.c lies in 0.2 to 0.3: 0.0001, 0.001"),
    ({"valley": "metric.c", "inside": [0.01, 0.3], "ratio": 2.0}, "ratio: unknown key"),
    ({"valley": "metric.cc", "around": 2.0}, "did you mean 'metric.c'"),
    ({"valley": "teacher.mu", "around": 2.0}, "three rows that differ"),
    ({"valley": "metric.c", "around": 2.0, "where": {"metric": "squared_l2"}}, "three rows that differ"),
    ({"monotone": "metric.c", "inside": [0.05, 2.0]}, "needs three values inside, but has 0.1, 1"),
    ({"monotone": "noise.p_std"}, "three rows that differ"),
    ({"better": {"teachr": "none"}, "worse": {"teacher": "adaptive"}}, "better: no field .*mean 'teacher'"),
    ({"better": {"teacher": "nine"}, "worse": {"teacher": "adaptive"}}, "better: no row has teacher=nine"),
    ({"better": {"row": "itc"}, "worse": {"row": "ict"}}, "better: no row 'itc'; did you mean 'ict'"),
    (
        {"better": {"metric.c": 0.1}, "worse": {"weighting": "uniform", "teacher.mu": 0.5}},
        "no two rows differ",
    ),
]


@pytest.mark.parametrize(("fields", "words"), WRONG)
def test_mistakes_are_one_line(planned, fields, words):
    with pytest.raises(SpecError, match=words) as caught:
        claim(**fields).rows(planned.rows, planned.base)
    assert all("\n" not in problem for problem in caught.value.problems)


def written(tmp_path, *lines, plan="[{grid: {teacher: [none]}}]"):
    file = tmp_path / "bad.yaml"
    file.write_text("\n".join(["name: bad", f"plan: {plan}", *lines]))
    return file


CHANGED = [
    ("{teacher: adaptve}", "worse: no row has teacher=adaptve; did you mean 'adaptive'?"),
    ("{row: teacher=adaptve}", "worse: no row 'teacher=adaptve'; did you mean 'teacher=adaptive'?"),
    ("{teecher: adaptive}", "worse: no field 'teecher'; did you mean 'teacher'?"),
]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"overrides": {"network.width": 16}},
        {"overrides": {"teacher": "none"}},
        {"profile": "cifar10-cpu"},
    ],
)
@pytest.mark.parametrize(("worse", "words"), CHANGED)
def test_claims_without_rows_are_a_mistake_whatever_is_set(tmp_path, worse, words, changed):
    claim = f"{{id: P4, says: s, better: {{teacher: none}}, worse: {worse}}}"
    file = written(tmp_path, f"claims: [{claim}]", plan="[{grid: {teacher: [none, adaptive]}}]")
    with pytest.raises(SpecError) as caught:
        load(file, **changed)
    if changed.get("overrides") == {"teacher": "none"}:  # which also takes the right word's row away
        words = words.split(";")[0]
    assert [p for p in caught.value.problems if words in p and "claims[0] (P4)" in p] == caught.value.problems


def test_what_is_set_may_take_the_rows_of_a_claim_away(tmp_path):
    claim = "{id: P4, says: s, better: {teacher: none}, worse: {teacher: adaptive}}"
    file = written(tmp_path, f"claims: [{claim}]", plan="[{grid: {teacher: [none, adaptive]}}]")
    assert not load(file).notes
    assert load(file, overrides={"teacher": "none"}).notes == [
        "claim P4 has no rows: worse: no row has teacher=adaptive; there are: none"
    ]


@pytest.mark.parametrize(
    ("of", "sigmas", "noted"),
    [
        ("metric: fid_3step, better: {teacher: none}, worse: {teacher: adaptive}", [0.8], [3]),
        ("better: {teacher: none, nfe: 4}, worse: {teacher: adaptive, nfe: 2}", [0.8], [4]),
        ("better: {teacher: none, nfe: 2}, worse: {teacher: none, nfe: 1}", [0.8], []),
        ("better: {teacher: none, nfe: 2}, worse: {teacher: none, nfe: 3}", [], [2, 3]),
        ("steadier: {teacher: none}, than: {teacher: adaptive}, metric: fid_2step", [0.8, 0.1], [2]),
        ("steadier: {teacher: none}, than: {teacher: adaptive}, metric: fid_3step", [0.8, 0.1], []),
    ],
)
def test_a_number_of_steps_that_is_not_measured_is_noted(tmp_path, of, sigmas, noted):
    file = written(
        tmp_path, f"claims: [{{id: x, says: s, {of}}}]", plan="[{grid: {teacher: [none, adaptive]}}]"
    )
    notes = load(file, overrides={"profile.evaluation.sigma_mid": sigmas}).notes
    assert [int(note.split("FID of ")[1].split()[0]) for note in notes] == noted


def test_claims_and_a_search_are_checked_together(tmp_path):
    search = "tune: {search: {metric.cc: [0.1, 0.2]}, trials: 2, seeds: [9]}"
    claim = "{id: a, says: s, better: {row: noen}, worse: {teacher: none}, tuned: true}"
    with pytest.raises(SpecError) as caught:
        load(written(tmp_path, search, f"claims: [{claim}]"))
    assert [
        "tune.search.metric.cc" in p or "claims[0] (a): better: no row" in p for p in caught.value.problems
    ] == [
        True,
        True,
    ]


def test_all_claims_and_rows_are_checked_together(tmp_path):
    claim = "{id: a, say: s, valley: metric.c, around: 2.0}"
    file = written(tmp_path, f"claims: [{claim}, {{id: b, says: s}}]", "set: {teachr: none}")
    with pytest.raises(SpecError) as caught:
        load(file)
    words = (
        "claims[0].say: unknown key",
        "claims[0].says: needs a value",
        "claims[1]: needs exactly one",
        "teachr",
    )
    assert all(any(word in problem for problem in caught.value.problems) for word in words)


MISTAKES = {  # in a key without which the rows are the same
    "summary": ("summary: []", "summary: '[]': input should be"),
    "seeds": ("seeds: [0, 1, 1]", "seeds: 1 is listed twice"),
    "a range of seeds": ("seeds: {min: 3, max: 2, until: decided}", "min <= max must hold"),
    "budgets": ("budgets: [1, two]", "budgets.1: 'two'"),
    "an end": ("tune: {search: {optimizer.lr: {low: 0.1, high: 0.01}}}", "low < high must hold"),
    "a seed of trials": (
        "tune: {search: {optimizer.lr: [0.1, 0.2]}, seeds: [-1]}",
        "tune.seeds: -1: a seed is",
    ),
    "no keys of a search": ("tune: {}", "tune.search: needs a value"),
    "nothing to search": ("tune: {search: {}}", "tune.search: '{}'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_key_hides_none_in_rows_and_claims(tmp_path, name):
    written_as, words = MISTAKES[name]
    claims = [
        "{id: a, says: s, better: {row: noen}, worse: {teacher: none}}",
        "{id: b, says: s, better: {teacher: none}, worse: {teacher: adaptive}, tuned: true}",
    ]
    rows = "{list: [{label: x, set: {metric.c: o.1}}]}"
    for plan, further in (
        (f"[{rows}]", "metric.c: 'o.1'"),
        ("[{grid: {teacher: [none, adaptive]}}]", "claims[0] (a)"),
    ):
        seen = claims if written_as.startswith("tune") else claims[:1]
        with pytest.raises(SpecError) as caught:
            load(written(tmp_path, f"claims: [{', '.join(seen)}]", written_as, plan=plan))
        assert [sum(word in p for p in caught.value.problems) for word in (words, further)] == [1, 1]
        assert len(caught.value.problems) == 2


def test_a_mistake_in_seeds_is_no_overlap_with_those_of_trials(tmp_path):
    """Without the wrong seeds a file has seed 0."""
    tuned = "{id: b, says: s, better: {teacher: none}, worse: {teacher: adaptive}, tuned: true}"
    search = "tune: {search: {optimizer.lr: [0.1, 0.2]}, seeds: [0]}"
    with pytest.raises(SpecError) as caught:
        load(written(tmp_path, "seeds: [1, 1]", search, f"claims: [{tuned}]"))
    assert [problem.split(": ", 1)[1] for problem in caught.value.problems] == ["seeds: 1 is listed twice"]


@pytest.mark.parametrize("wrong", ["set: [1]", "base: 3", "imports: x", "profile: 1", "sset: {}", "plan: []"])
def test_without_a_key_that_rows_need_only_the_mistakes_in_keys_are_said(tmp_path, wrong):
    file = tmp_path / "e.yaml"
    content = {"name": "name: e", "plan": "plan: [{grid: {teachr: [none]}}]", "seeds": "seeds: [-1]"}
    file.write_text("\n".join((content | {wrong.split(":")[0]: wrong}).values()))
    with pytest.raises(SpecError) as caught:
        load(file)
    assert [
        problem.removeprefix(f"{file}: ").split(":")[0].split(".")[0] for problem in caught.value.problems
    ] in (
        [wrong.split(":")[0], "seeds"],
        ["seeds", wrong.split(":")[0]],
    )


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ("{min: 3, max: 2, until: decided}", "min <= max must hold"),
        ("{min: 2, max: 4, until: decided}", "there are no claims"),
        ("{min: 2, mix: 4, until: decided}", "mix: unknown key"),
    ],
)
def test_seeds_until_decided_are_checked(tmp_path, seeds, words):
    with pytest.raises(SpecError, match=words):
        load(written(tmp_path, f"seeds: {seeds}"))


EQUAL = example("A kind of claim")


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An experiment that imports a kind of claim from a file beside it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "equal.py").write_text(EQUAL)
    file = tmp_path / "made.yaml"
    file.write_text(
        "name: made\nimports: [equal]\nplan: [{list: [{label: a}, {label: b, set: {metric.c: 0.1}}]}]\n"
        "claims: [{id: same, says: c does not matter, equal: [a, b], within: 1.1}]\n"
    )
    yield file
    claims.KINDS.pop("equal", None)
    sys.modules.pop("equal", None)


def answered(experiment, *ratios):
    table = {(0, 1): {"": dict.fromkeys(range(len(ratios)), 10.0)}}
    table[1, 1] = {"": {seed: 10.0 * ratio for seed, ratio in enumerate(ratios)}}
    return verdicts.answers(experiment, table)[0].state


def test_a_plugin_adds_a_kind_in_one_short_file(plugin):
    experiment = load(plugin)
    (equal,) = experiment.claims
    assert equal.rows(experiment.rows, experiment.base) == {0, 1}
    assert answered(experiment, 1.01, 0.99, 1.0, 1.02) == verdicts.SUPPORTED
    assert answered(experiment, 1.31, 1.29, 1.3, 1.32) == verdicts.CONTRADICTED
    assert answered(experiment, 0.71, 0.69, 0.7, 0.72) == verdicts.CONTRADICTED
    assert answered(experiment, 1.3, 0.7, 1.1, 0.9) == verdicts.UNDECIDED
    assert answered(experiment, 1.0) == verdicts.UNDECIDED


def test_mistakes_in_a_plugins_claim_name_its_keys(plugin):
    plugin.write_text(plugin.read_text().replace("within", "witin"))
    with pytest.raises(SpecError, match=r"claims\[0\].witin: unknown key; did you mean 'within'"):
        load(plugin)


def test_two_plugins_cannot_share_a_key(plugin):
    load(plugin)
    with pytest.raises(SpecError, match="test_claims and equal both define the claim 'equal'"):

        class Same(Claim):
            equal: str


def test_a_kind_needs_a_key():
    with pytest.raises(TypeError, match="needs a required field"):

        class Nothing(Claim):
            more: int = 0
