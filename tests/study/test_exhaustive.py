"""Samplers that try every point: each once, over restarts, failures and several processes, to their end."""

from __future__ import annotations

import json

import pytest
from helpers import cli
from helpers.instant_cells import Instant

from ablate.core.errors import SpecError
from ablate.execution.scheduler import Scheduler
from ablate.runs.store import Store
from ablate.study import search as studies
from ablate.study.trials import counted, shortfall

GRID = "name: some\nsearch: {teacher: [none, adaptive], metric.c: [0.01, 0.1]}\ntrials: 10\nsampler: GridSampler\n"


def search(place, text, executor=None, **changes):
    (place / "some.yaml").write_text(text)
    plan, store = studies.load(place / "some.yaml", overrides=changes), Store.writable(place / "runs")
    study, executor = studies.open_study(plan, store.path), executor or Instant()
    broken = studies.run(plan, study, store, lambda s, follow, n: Scheduler(executor, s, follow, retries=0))
    return plan, study, executor, broken


@pytest.mark.parametrize(
    ("before", "after", "points"),
    [
        ("GridSampler", "GridSampler", 4),
        ("GridSampler", "BruteForceSampler", 4),
        ("GridSampler", "{name: BruteForceSampler, seed: 3, avoid_premature_stop: true}", 4),
        ("GridSampler", "GridSampler\npruner: HyperbandPruner", 4),
        ("[0.01, 0.1]", "{low: 0.1, high: 0.5, step: 0.1}", 10),
        ("metric.c: [0.01, 0.1]", "noise.p_mean: [-1.1, -0.5, 0.0]", 6),  # with the base's own value
        ("GridSampler", "{name: GridSampler, search_space: {teacher: [none, none], metric.c: [0.1]}}", 1),
        (
            "GridSampler",
            "{name: PartialFixedSampler, fixed_params: {teacher: none}, base_sampler: GridSampler}",
            2,
        ),
    ],
)
def test_a_grid_has_an_end(tmp_path, before, after, points):
    text = GRID.replace(before, after)
    for trials in (2, 3, 20, 20):  # restarts in the middle, and after the end
        plan, study, _, broken = search(tmp_path, text, trials=trials)
        params = [tuple(plan.params(t).values()) for t in counted(study.get_trials())]
        assert (len(params), len(set(params)), broken) == (min(trials, points),) * 2 + ("",)
    assert f"the grid has {points} points" in shortfall(plan, study)
    assert plan.most == points


def test_a_grid_that_is_asked_for_all_its_points_says_that_it_is_done_and_more_is_not_computed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("ablate.tracking.live.Live._serve", lambda live: None)  # MLflow takes seconds
    first = Instant(room=3)
    search(tmp_path, GRID, first, trials=4)
    assert len(set(first.computed)) == len(first.computed) == 4
    words = ["--runs-dir", "runs", "--no-doctor"]
    for trials in (4, 40):
        done = cli.call("study", "some.yaml", *words, "--set", f"trials={trials}", cwd=tmp_path)
        assert done.returncode == 0
        assert "4 complete; the grid has 4 points; the report is" in done.stdout
        assert done.stderr == ""
    assert "The grid has 4 points." in (tmp_path / "reports/some/table.md").read_text()
    planned = cli.call("study", "some.yaml", "--dry-run", "--json", cwd=tmp_path)
    assert json.loads(planned.stdout)["trials"] == 4


def test_an_interrupted_grid_computes_no_point_twice(tmp_path):
    first = Instant(room=2, dies_after=2)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, GRID, first)
    _, study, second, _ = search(tmp_path, GRID)
    assert sorted(first.computed + second.computed) == sorted(set(first.computed + second.computed))
    assert len(counted(study.get_trials())) == 4


class Crashing(Instant):
    """Workers that die without a record."""

    def _advance(self, path):
        self._end(path, 1)


@pytest.mark.parametrize("text", [GRID, GRID.replace("GridSampler", "RandomSampler")])
def test_trials_without_a_record_are_computed_again_by_the_next_command(tmp_path, text):
    _, study, _, broken = search(tmp_path, text, Crashing(), trials=3)
    failed = [t.params for t in counted(study.get_trials())]
    assert broken == "trials 0, 1, 2 failed without a record; the same command computes them again"
    _, study, _, broken = search(tmp_path, text, Crashing(), trials=3)
    assert "trials 3, 4, 5 failed" in broken
    _, study, _, broken = search(tmp_path, text, trials=3)
    ended = counted(study.get_trials())
    assert [t.params for t in ended] == failed
    assert {t.state.name for t in ended} == {"COMPLETE"}
    assert broken == ""


def test_a_study_without_a_complete_trial_has_a_report(tmp_path):
    for states in ("failed", "diverged"):
        place = tmp_path / states
        place.mkdir()
        search(place, GRID, Instant(states=dict.fromkeys(range(4), states)))
        done = cli.call("report", "some.yaml", cwd=place)
        assert (done.returncode, done.stderr) == (1, "")
        assert "no trial is complete; the grid has 4 points" in done.stdout
        assert "No trial is complete" in (place / "reports/some/table.md").read_text()


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        (
            "{name: GridSampler, search_space: {metric.c: [0.1]}}",
            "search_space: has no values for teacher; `search`",
        ),
        (
            "{name: GridSampler, search_space: {metric.c: [0.6], teacher: [none]}}",
            "0.6 is not in search.metric.c: [0.01, 0.1]",
        ),
        (
            "{name: GridSampler, search_space: {metric.k: [0.1], teacher: [none]}}",
            "no such name; did you mean 'metric.c'?",
        ),
        (
            "{name: GridSampler, search_space: {metric.c: 0.1, teacher: []}}",
            "needs a list of values, not 0.1",
        ),
        ("{name: GridSampler, search_space: 3}", "needs a list of values for each name, not 3"),
        (
            "{name: PartialFixedSampler, fixed_params: {teacher: non}, base_sampler: TPESampler}",
            "'non' is not in search.teacher",
        ),
        (
            "{name: PartialFixedSampler, base_sampler: TPESampler}",
            "fixed_params: needs a value for each name",
        ),
        ("{name: TPESampler, gamma: 5}", "sampler: TPESampler: "),
        ("{name: NSGAIISampler, population_size: 4, constraints_func: x}", "sampler: NSGAIISampler: "),
        (
            "{name: RandomSampler, seed: abc}",
            "sampler.seed: needs a whole number from 0 to 2^32 - 1, not 'abc'",
        ),
        ("{name: GridSampler, seed: -1}", "sampler.seed: needs a whole number"),
        ("TPESampler\npruner: {name: HyperbandPruner, max_resource: 0}", "pruner: HyperbandPruner: "),
        ("TPESampler\npruner: MedianPruner\nrungs: 100\nset: {metric.c: 1.0}", "it is set as well"),
    ],
)
def test_what_samplers_and_pruners_refuse_is_one_line_at_planning(tmp_path, sampler, words):
    (tmp_path / "some.yaml").write_text(GRID.replace("GridSampler", sampler))
    done = cli.call("study", "some.yaml", "--dry-run", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert all(line.startswith("error: some.yaml: ") for line in done.stderr.splitlines())


@pytest.mark.parametrize(
    "value", ["{low: 0.1, high: 1.0}", "{low: 0.001, high: 1.0, step: 0.000001}", "null"]
)
@pytest.mark.parametrize("sampler", ["GridSampler", "BruteForceSampler"])
def test_infinitely_many_points_are_no_grid(tmp_path, sampler, value):
    (tmp_path / "some.yaml").write_text(GRID.replace("[0.01, 0.1]", value).replace("GridSampler", sampler))
    with pytest.raises(SpecError, match=rf"search.metric.c: a {sampler} "):
        studies.load(tmp_path / "some.yaml")


def test_a_seed_of_the_file_draws_further_points_after_a_restart(tmp_path):
    text = "name: some\nsearch: {noise.p_mean: {low: -2.0, high: 1.0}}\nsampler: {name: RandomSampler, seed: 1}\n"
    for trials in (3, 6):
        study = search(tmp_path, text, trials=trials)[1]
    assert len({t.params["noise.p_mean"] for t in study.get_trials()}) == 6
