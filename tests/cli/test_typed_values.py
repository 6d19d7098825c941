"""What the command line makes of a value: text as typed where a field takes text, else the number or a line."""

from __future__ import annotations

import json

import pytest
from helpers.cli import call
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ablate.cli.options import overrides
from ablate.core import section, yaml_files
from ablate.core.errors import SpecError
from ablate.execution import executors
from ablate.execution.resources import Resources
from ablate.planning import planner
from ablate.study import search as studies

FILE = "name: one\nseeds: [0]\nplan:\n  - list: [{label: ict}]\n"
STUDY = "name: two\nsearch: {metric.c: {low: 0.01, high: 0.1}}\n"
FOLDER = ["profile.data.name=folder", "profile.data.resolution=8", "profile.evaluation.samples=16"]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "one.yaml").write_text(FILE)
    (tmp_path / "two.yaml").write_text(STUDY)
    return tmp_path


def planned(place, *pairs):
    return planner.load(place / "one.yaml", overrides=overrides([*pairs]))


def pictures(folder):
    folder.mkdir(parents=True)
    for i in range(40):
        Image.new("RGB", (8, 8), (6 * i, 255 - 6 * i, i)).save(folder / f"{i}.png")


NAMES = [
    "pics #1",
    "2024_01",
    "12:30",
    "1e5",
    "no",
    "2024-01-02",
    "@pics",
    "pics: old",
    "007",
    "true",
    "%20?é",
    "[a]",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_the_one_that_was_typed(name, place, monkeypatch):
    pictures(place / name)
    monkeypatch.chdir(place)
    for word in (name, json.dumps(name, ensure_ascii=False)):
        assert planned(place, *FOLDER, f"profile.data.path={word}").profile.data.path == name


@pytest.mark.parametrize("name", ["12:30", "1e5", "2024", "1.50", "0x1f"])
def test_a_file_means_what_it_says_as_well(name, place, monkeypatch):
    pictures(place / name)
    monkeypatch.chdir(place)
    (place / "own.yaml").write_text(
        f"name: {name}\ndata: {{name: folder, resolution: 8, path: {name}}}\nbatch: 16\nimages: 320\n"
    )
    (place / "one.yaml").write_text(FILE.replace("ict}", f"{name}}}"))
    experiment = planner.load(place / "one.yaml", "own.yaml")
    assert (experiment.profile.data.path, experiment.profile.name, experiment.rows[0].label) == (name,) * 3


@pytest.mark.parametrize("word", ['"12e4"', "000", "12e4", "0x1f", "2024_01", "1:30"])
def test_a_key_of_digits_is_text(word, place):
    key = word.strip('"')
    for pairs in (
        ["init_from={name: run, key: x}", f"init_from.key={word}"],
        [f"init_from={{name: run, key: {word}}}"],
    ):
        with pytest.raises(SpecError, match=r"no finished cell|should match pattern") as caught:
            planned(place, *pairs)
        assert key in str(caught.value)


@pytest.mark.parametrize("word", ["1_6", "1:30", "on", "0.3 # x", "0b1", "'16'", "2024-01-02", "0o9", "1,5"])
def test_a_number_is_refused_with_the_word_that_was_typed(word, place):
    for command, file in (("run", "one.yaml"), ("doctor", "one.yaml"), ("study", "two.yaml")):
        more = [] if command == "doctor" else ["--dry-run"]
        done = call(command, file, *more, "--set", f"profile.batch={word}", cwd=place)
        assert done.returncode == 2, done.stdout
        (line,) = done.stderr.strip().splitlines()
        assert f"batch: {word.strip(chr(39))!r}: input should be a valid integer" in line
    with pytest.raises(SpecError, match="valid number"):
        planned(place, f"noise.p_mean={word}")


@pytest.mark.parametrize("word", ["1_0", "\u0663", "0-3", "1e1", "+1", "", ",", "0x1"])
def test_seeds_are_whole_numbers_as_people_write_them(word, place):
    done = call("run", "one.yaml", "--dry-run", "--seeds", word, cwd=place)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, "--seeds" in line, "needs whole numbers" in line) == (2, True, True)


def test_a_wrong_value_is_said_where_it_was_typed(place):
    for pair in (
        "profile.batch=x",
        "profile.data.holdout=0",
        "profile.evaluation.nfe=[1]",
        "profile.adapt=3",
    ):
        with pytest.raises(SpecError, match=f"--set: {pair.split('=')[0]}: "):
            planned(place, pair)
    with pytest.raises(SpecError, match="profile: adapt: x: no such axis"):
        planned(place, "profile.adapt.x=1")
    assert planned(place, "profile.adapt.metric.c=0.2").rows[0].recipe.metric.c == 0.2


def test_a_dry_run_as_json_shows_every_recipe(place):
    pairs = ["metric.c=0.25", "noise.p_mean=-0.5", "teacher=adaptive"]
    sets = [word for pair in pairs for word in ("--set", pair)]
    done = call("run", "one.yaml", "--dry-run", "--json", "--seeds", "3,4", *sets, cwd=place)
    found = json.loads(done.stdout)
    (row,) = found["rows"]
    assert (found["seeds"], len(row["keys"]), found["cells"]) == ([3, 4], 2, 2)
    assert [row["recipe"][k] for k in ("metric.c", "noise.p_mean", "teacher")] == [0.25, -0.5, "adaptive"]


@pytest.mark.parametrize("word", ["yes", "on", "1", "y", "'true'", "No"])
def test_a_truth_value_is_true_or_false(word, place):
    with pytest.raises(SpecError, match=f"flip: '{word.strip(chr(39))}': needs true or false"):
        planned(place, f"profile.data.flip={word}")
    assert planned(place, "profile.data.flip=true").profile.data.flip


@pytest.mark.parametrize("pair", ["a", "=1", " =1", "a\nb=1", "a\udcff=1", "\n"])
def test_a_setting_without_a_key_is_one_line(pair):
    with pytest.raises(SpecError, match="needs KEY=VALUE") as caught:
        overrides([pair])
    assert "\n" not in str(caught.value)


def test_numbers_and_what_is_below_a_mapping(place):
    found = planned(
        place,
        "metric.c=1e-2",
        "profile.batch=020",
        "profile.evaluation={samples: 64}",
        "profile.evaluation.grid=4",
    )
    assert (found.rows[0].recipe.metric.c, found.profile.batch) == (0.01, 20)
    assert (found.profile.evaluation.samples, found.profile.evaluation.grid) == (64, 4)


def test_merge_keys_in_a_plan(place):
    (place / "one.yaml").write_text(
        "name: one\nplan:\n  - list:\n"
        "      - {label: base, set: &common {noise.p_mean: -0.4, metric.c: 0.1}}\n"
        "      - {label: more, set: {<<: *common, metric.c: 0.3}}\n"
    )
    base, more = (row.recipe for row in planned(place).rows)
    assert (more.noise.p_mean, more.metric.c) == (base.noise.p_mean, 0.3) == (-0.4, 0.3)


def test_a_claim_finds_a_row_whose_label_is_a_number(place):
    claim = "claims: [{id: P1, says: c matters, better: {row: 007}, worse: {row: 1e-2}}]\n"
    rows = FILE.replace("{label: ict}", "{label: 007}, {label: 1e-2, set: {metric.c: 0.5}}")
    (place / "one.yaml").write_text(rows + claim)
    assert [row.label for row in planned(place).rows] == ["007", "1e-2"]


def test_a_study_takes_text(place):
    plan = studies.load(
        place / "two.yaml", overrides=overrides(["sampler=RandomSampler", "profile.summary=1e5"])
    )
    assert (plan.content.sampler, plan.experiment.profile.summary) == ("RandomSampler", "1e5")
    with pytest.raises(SpecError, match="'12e4'"):
        studies.load(place / "two.yaml", overrides=overrides(["sampler=12e4"]))


@pytest.mark.parametrize("word", ["1:30:00", "1:30", "1-0", "2h", "'90'", "1_000"])
def test_a_time_of_slurm_is_in_minutes(word):
    with pytest.raises(
        SpecError, match=f"time: '{word.strip(chr(39))}': needs a number of minutes, such as 90"
    ):
        Resources(executor="slurm", options=overrides([f"time={word}"], "--executor-option"))


def test_options_of_sbatch_are_text():
    given = overrides(
        ["time=90", "extra={account: 007, time: 1:30:00, mem: 1e3, exclusive: true}", "partition=12e4"]
    )
    Resources(executor="slurm", options=given)
    found = section.read(executors.named("slurm").Options, given, "", as_json=True)
    assert found.extra == {"account": "007", "time": "1:30:00", "mem": "1e3", "exclusive": True}
    assert (found.time, found.partition) == (90, "12e4")


FIELDS = [
    "profile.summary",
    "profile.name",
    "profile.batch",
    "profile.compile",
    "profile.data.flip",
    "metric.c",
]
FIELDS += [
    "profile.evaluation.sigma_mid",
    "metric",
    "optimizer.betas",
    "network.attention",
    "profile",
    "profile.data",
    "x.y",
]
WORDS = st.text(max_size=12) | st.text("01_.:-+eExo~#[]{}'\"& *!|>%@<", max_size=10)


def _as_typed(file, field, word):
    try:
        found = planner.load(file, overrides=overrides([f"{field}={word}"])).profile
    except SpecError as error:
        assert all("\n" not in problem for problem in error.problems), error.problems
        return
    if field == "profile.summary" and word.strip()[:1] not in ("'", '"'):
        assert found.summary == word
    if field == "profile.batch":
        assert found.batch == int(word, 0 if word.strip()[:2] in ("0x", "0o") else 10)
        assert "_" not in word


@given(st.sampled_from(FIELDS), WORDS)
@settings(max_examples=250, deadline=None, derandomize=True)
def test_any_word_arrives_or_is_refused_in_a_line(tmp_path_factory, field, word):
    file = tmp_path_factory.getbasetemp() / "words.yaml"
    file.write_text(FILE)
    _as_typed(file, field, word)


@pytest.mark.slow
@given(st.sampled_from(FIELDS), WORDS)
@settings(max_examples=2000, deadline=None)
def test_many_more_words(tmp_path_factory, field, word):
    file = tmp_path_factory.getbasetemp() / "words.yaml"
    file.write_text(FILE)
    _as_typed(file, field, word)


KEYS = [
    "name",
    "summary",
    "profile",
    "seeds",
    "base",
    "imports",
    "set",
    "claims",
    "plan",
    "priority",
    "label",
    "metric.c",
]
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS.map(lambda w: w.replace("\0", "")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | WORDS, inner, max_size=3)
    ),
    max_leaves=5,
)


def _planned_or_refused(file, key, value):
    text = {"name": "x", "plan": [{"list": [{"label": "a"}]}]}
    inner = {
        "label": text["plan"][0]["list"][0],
        "set": text["plan"][0]["list"][0],
        "priority": text["plan"][0],
    }
    (inner.get(key, text) if key != "metric.c" else text.setdefault("set", {}))[key] = value
    try:
        file.write_text(yaml_files.write(text), encoding="utf-8", errors="surrogatepass")
        planner.load(file)
    except SpecError as error:
        assert all("\n" not in problem for problem in error.problems), error.problems


@given(st.sampled_from(KEYS), TREES)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_anything_under_any_key_is_planned_or_refused_in_lines(tmp_path_factory, key, value):
    _planned_or_refused(tmp_path_factory.getbasetemp() / "trees.yaml", key, value)


@pytest.mark.slow
@given(st.sampled_from(KEYS), TREES)
@settings(max_examples=2000, deadline=None)
def test_much_more_under_any_key(tmp_path_factory, key, value):
    _planned_or_refused(tmp_path_factory.getbasetemp() / "trees.yaml", key, value)
