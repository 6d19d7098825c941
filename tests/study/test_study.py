"""Studies, with an executor that answers at once: FID is a known function of the parameters."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib
import optuna
import pytest
from helpers.instant_cells import FILE, Instant, valley
from typer.testing import CliRunner

import ablate
from ablate.cli import app
from ablate.core.errors import SpecError
from ablate.execution.scheduler import Scheduler
from ablate.planning.planner import load as load_experiment
from ablate.runs.store import Store
from ablate.study import result
from ablate.study import search as studies
from ablate.study.trials import OWNER, counted, requeue_dead


@pytest.fixture
def place(tmp_path):
    (tmp_path / "some.yaml").write_text(FILE)
    return tmp_path


def search(place, text=None, executor=None, **changes):
    """Run the study in `place`: its plan, Optuna's study, the executor."""
    if text:
        (place / "some.yaml").write_text(text)
    plan, store, executor = (
        studies.load(place / "some.yaml", overrides=changes),
        Store(place / "runs"),
        executor or Instant(),
    )
    study = studies.open_study(plan, store.path)
    studies.run(plan, study, store, lambda s, follow, n: Scheduler(executor, s, follow))
    return plan, study, executor


def ended(study):
    return counted(study.get_trials())


def test_as_many_trials_as_wished_the_base_first(place):
    _, study, executor = search(place)
    trials = ended(study)
    assert len(trials) == len(executor.computed) == 12
    assert trials[0].params == {"metric.c": pytest.approx(0.00054 * 8), "noise.p_mean": -1.1}
    for trial in trials:
        recipe = {"metric.c": trial.params["metric.c"], "noise.p_mean": trial.params["noise.p_mean"]}
        assert trial.value == pytest.approx(valley(recipe))


def test_tpe_finds_the_valley(place):
    _, study, _ = search(place, trials=40)
    assert study.best_value < 2.6
    assert abs(math.log(study.best_params["metric.c"] / 0.03)) < 1


def test_a_finished_study_costs_nothing_and_more_trials_continue_it(place):
    search(place)
    assert search(place)[2].computed == []
    _, study, executor = search(place, trials=15)
    assert (len(executor.computed), len(ended(study))) == (3, 15)
    assert len({str(t.params) for t in ended(study)}) == 15  # the sampler did not begin from its seed again


def test_a_grid_finds_what_a_study_computed_and_the_other_way_round(place):
    _, study, _ = search(place, trials=3)
    keys = {key for t in ended(study) for key in t.user_attrs["keys"]}
    params = [t.params for t in ended(study)]
    columns = {name: [p[name] for p in params] for name in params[0]}
    (place / "grid.yaml").write_text(f"name: grid\nplan: [{{zip: {json.dumps(columns)}}}]\n")
    assert set(load_experiment(place / "grid.yaml").cells) == keys
    shutil.rmtree(place / "runs" / "studies")
    text = FILE + f"pruner: NopPruner\nsampler: {{name: GridSampler, search_space: {json.dumps(columns)}}}\n"
    text = text.replace("sampler: {name: TPESampler, multivariate: true}\n", "")
    _, again, executor = search(place, text, trials=1)
    assert executor.computed == []
    assert ended(again)[0].value == ended(study)[0].value


def test_an_interrupted_study_loses_no_trial_and_repeats_no_cell(place):
    first = Instant(room=2, dies_after=5)
    with pytest.raises(KeyboardInterrupt):
        search(place, executor=first)
    _, study, second = search(place)
    assert len(ended(study)) == 12
    assert len(set(first.computed + second.computed)) == len(first.computed + second.computed) == 12


def test_the_report_of_an_interrupted_study_trains_nothing(place):
    with pytest.raises(KeyboardInterrupt):
        search(place, executor=Instant(room=2, dies_after=5))
    words = ["--runs-dir", str(place / "runs"), "--reports-dir", str(place / "reports"), "--json"]
    answer = CliRunner().invoke(app, ["report", str(place / "some.yaml"), *words])
    assert answer.exit_code == 0
    study = studies.load_study(studies.load(place / "some.yaml"), place / "runs")
    assert json.loads(answer.stdout)["best"]["fid_1step"]["value"] == study.best_value
    counted = len(ended(study))
    assert 0 < counted < 12
    assert f"{counted} of 12 trials" in (place / "reports" / "some" / "table.md").read_text()


@pytest.mark.parametrize("url", [None, "sqlite:///{}/studies.db"])
def test_a_study_that_never_ran_has_no_report_and_is_not_made(place, url):
    url = url and url.format(place)
    with pytest.raises(SpecError, match=r"no trials of .*some.yaml"):
        studies.load_study(studies.load(place / "some.yaml"), place / "runs", url)
    assert not list(place.rglob("*.journal"))
    assert url is None or optuna.get_all_study_names(url) == []


def test_trials_of_a_dead_process_restart_with_the_same_parameters(place):
    plan = studies.load(place / "some.yaml")
    study = studies.open_study(plan, Store(place / "runs").path)
    for trial in (study.ask(plan.space), study.ask(plan.space)):
        trial.set_user_attr(OWNER, ["another machine", "x", 1, 0.0])  # without a heartbeat
    wished = trial.params
    _, study, _ = search(place)
    assert len(ended(study)) == 12
    assert wished in [t.params for t in ended(study)]


def test_a_living_trial_of_another_process_is_left_alone(place):
    plan = studies.load(place / "some.yaml")
    study = studies.open_study(plan, Store(place / "runs").path)
    trial = study.ask(plan.space)
    trial.set_user_attr(OWNER, ["another machine", "x", 1, 0.0])
    trial.set_user_attr("alive", time.time())
    _, study, executor = search(place)
    assert len(executor.computed) == 11
    assert [t.state.name for t in study.get_trials()].count("RUNNING") == 1


def test_pruning_ends_the_worst_early(place):
    text = FILE + "rungs: 4\npruner: {name: MedianPruner, n_startup_trials: 3}\n"
    _, study, executor = search(place, text, Instant(rungs=4), trials=20)
    states = [t.state.name for t in ended(study)]
    assert len(states) == 20
    pruned = [t for t in ended(study) if t.state.name == "PRUNED"]
    complete = [t for t in ended(study) if t.state.name == "COMPLETE"]
    assert pruned
    assert len(executor.computed) == len(complete)
    assert study.best_value < min(t.intermediate_values[t.last_step] for t in pruned)
    assert all(set(t.intermediate_values) == {1, 2, 3} for t in complete)


def test_seeds_are_averaged(place):
    _, study, executor = search(place, FILE + "seeds: [0, 1, 2]\n", Instant(room=2), trials=4)
    assert len(executor.computed) == 12
    assert all(len(set(t.user_attrs["keys"])) == 3 for t in ended(study))


def test_diverged_is_worse_than_any_number_and_failed_has_its_reason(place):
    _, study, _ = search(place, executor=Instant(states={1: "diverged", 2: "failed"}))
    by_state = {t.number: t.state.name for t in ended(study)}
    assert len(by_state) == 12
    assert (by_state[1], by_state[2]) == ("PRUNED", "FAIL")
    assert ended(study)[1].user_attrs["reason"].startswith("diverged")


def test_two_objectives_have_a_front(place):
    plan, study, _ = search(place, FILE + "objective: [fid_1step, fid_2step]\n", trials=20)
    front = [t.values for t in study.best_trials]
    assert not [a for a in front for b in front if a != b and all(x <= y for x, y in zip(b, a, strict=True))]
    folder = result.write(plan, study, place / "reports")
    assert {p.name for p in folder.glob("best*")} == {"best_fid_1step.yaml", "best_fid_2step.yaml"}
    assert (folder / "pareto.png").stat().st_size > 5000
    assert "pareto" in (folder / "table.csv").read_text().splitlines()[0]


def test_the_report_has_figures_a_table_and_a_recipe_that_runs(place):
    plan, study, _ = search(place)
    yours = {"text.usetex": True, "font.size": 90, "savefig.format": "pdf"}  # they do not matter
    with matplotlib.rc_context(yours):
        folder = result.write(plan, study, place / "reports")
        assert matplotlib.rcParams["text.usetex"]
    names = {"history.png", "importance.png", "contour.png", "slice.png", "parallel.png"}
    assert {p.name for p in folder.iterdir()} == names | {
        "table.md",
        "index.html",
        "table.csv",
        "best.yaml",
        "of.json",
    }
    best = ablate.load_recipe(folder / "best.yaml")
    assert best.metric.c == study.best_params["metric.c"]
    assert best.noise.p_mean == study.best_params["noise.p_mean"]
    text = (folder / "table.md").read_text()
    assert "12 of 12 trials" in text
    assert "times as much" in text or "nothing that was tried is better" in text
    parts = text.split("\n\n")
    assert parts[1].startswith(f"The lowest fid_1step is {study.best_value:.4g}, with metric.c=")
    assert [part[3:] for part in parts if part.startswith("## ")] == ["Trials", "Figures", "How to continue"]
    assert {part[2:9] for part in parts if part.startswith("![")} >= {"history", "importa"}
    assert parts.index("## Figures") + 2 >= next(i for i, p in enumerate(parts) if p.startswith("![history"))
    page = (folder / "index.html").read_text()
    assert page.count("<tr>") == 1 + 12
    assert page.count("data:image/png;base64,") == len(names)
    (command,) = (line for line in text.splitlines() if line.startswith("python -m ablate study "))
    assert Path(shlex.split(command)[4]).resolve() == place / "some.yaml"


@pytest.mark.parametrize(
    ("objective", "states", "words"),
    [
        ("", dict.fromkeys(range(40), "failed"), ["No trial is complete, of 3 trials."]),
        ("", {1: "diverged"}, ["The lowest fid_1step is "]),
        ("objective: [fid_1step, fid_2step]\n", {}, ["The lowest fid_1step is ", "The lowest fid_2step is "]),
    ],
)
def test_the_page_of_any_study_begins_with_a_sentence(place, objective, states, words):
    plan, study, _ = search(place, FILE + objective, Instant(states=states), trials=3)
    folder = result.write(plan, study, place / "reports")
    parts = (folder / "table.md").read_text().split("\n\n")
    assert [part[: len(word)] for part, word in zip(parts[1:], words, strict=False)] == words
    assert not re.search(r"\b(nan|None)\b", "".join(parts))
    assert "<h1" in (folder / "index.html").read_text()


def test_what_the_command_line_set_is_on_the_page(place):
    plan, study, _ = search(place, trials=2, **{"optimizer.lr": 0.002})
    text = (result.write(plan, study, place / "reports") / "table.md").read_text()
    assert "With --set optimizer.lr=0.002." in text
    assert "some.yaml --set optimizer.lr=0.002 --trials 12\n" in text


def test_a_recipe_of_a_study_makes_the_same_cell(place):
    plan, study, _ = search(place, trials=5)
    folder = result.write(plan, study, place / "reports")
    (place / "one.yaml").write_text(
        f"name: one\nbase: {folder / 'best.yaml'}\nplan: [{{list: [{{label: best}}]}}]\n"
    )
    assert list(load_experiment(place / "one.yaml").cells) == study.best_trial.user_attrs["keys"]


@pytest.mark.parametrize(
    "name", ["RandomSampler", "TPESampler", "GPSampler", "QMCSampler", "NSGAIISampler", "BruteForceSampler"]
)
def test_samplers_by_their_names(place, name):
    text = FILE.replace("sampler: {name: TPESampler, multivariate: true}", f"sampler: {name}")
    if name == "BruteForceSampler":
        text = text.replace("{low: 0.001, high: 1.0, log: true}", "[0.01, 0.1]").replace(
            "high: 1.0}", "high: 1.0, step: 0.5}"
        )
    _, study, _ = search(place, text, trials=4)
    assert len(ended(study)) == 4


@pytest.mark.parametrize(
    "pruner",
    [
        "HyperbandPruner",
        "SuccessiveHalvingPruner",
        "MedianPruner",
        "{name: PatientPruner, wrapped_pruner: MedianPruner, patience: 1}",
    ],
)
def test_pruners_by_their_names(place, pruner):
    _, study, _ = search(place, FILE + f"pruner: {pruner}\n", Instant(rungs=4), trials=6)
    assert len(ended(study)) == 6


def test_options_and_their_fields_together(place):
    text = "name: some\nsearch: {metric: [pseudo_huber, l2], metric.c: null, noise.p_mean: null}\n"
    (place / "some.yaml").write_text(text)
    plan = studies.load(place / "some.yaml")
    rows = [
        plan.row("x", {"metric": m, "metric.c": 0.5, "noise.p_mean": 0.0})[0].recipe.metric
        for m in ("pseudo_huber", "l2")
    ]
    assert (rows[0].c, rows[1].name) == (0.5, "l2")
    assert plan.space["metric.c"] == optuna.distributions.FloatDistribution(0.001, 1.0, log=True)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("metric.c", "metric.d", "search.metric.d: pseudo_huber has no such field"),
        ("metric.c", "metrik.c", "no axis 'metrik'; did you mean 'metric'?"),
        ("low: 0.001", "low: -1", "search.metric.c"),
        ("low: 0.001", "lower: 0.001", "search.metric.c.lower: unknown key; did you mean 'low'?"),
        ("low: 0.001", "low: '1e-3'", "needs a number, not '1e-3'"),
        ("high: 1.0, log", "high: 0.0001, log", "search.metric.c"),
        ("TPESampler", "TPSampler", "sampler: no class 'TPSampler'; did you mean 'TPESampler'?"),
        ("multivariate", "multivariat", "did you mean 'multivariate'?"),
        ("trials: 12", "trials: 0", "some.yaml: trials"),
        ("trials: 12", "trails: 12", "did you mean 'trials'?"),
        ("trials: 12", "objective: fid_2steps", "did you mean 'fid_2step'?"),
        ("trials: 12", "objective: [fid_1step, fid_2step]\npruner: MedianPruner", "one objective only"),
        ("trials: 12", "set: {metric.c: 0.1}", "search.metric.c: it is set as well"),
        ("trials: 12", "pruner: {name: HyperbandPruner, reduction: 3}", "did you mean 'reduction_factor'?"),
        (
            "sampler: {name: TPESampler, multivariate: true}",
            "sampler: GridSampler",
            "a GridSampler needs a list of values",
        ),
        ("sampler: {name: TPESampler, multivariate: true}", "sampler: CmaEsSampler", "needs another package"),
    ],
)
def test_mistakes_are_one_line_each(place, before, after, words):
    (place / "some.yaml").write_text(FILE.replace(before, after, 1))
    with pytest.raises(SpecError) as error:
        studies.load(place / "some.yaml")
    assert words in str(error.value)
    assert all("\n" not in problem for problem in error.value.problems)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trials: many", "trials: 'many': input should be a valid integer"),
        ("seeds: [0, 0]", "seeds: 0 is listed twice"),
        ("rungs: 0", "rungs: '0': input should be"),
        ("pruner: [1]", "pruner: '[1]': input should be"),
        ("summary: {a: 1}", "summary: "),
    ],
)
def test_a_mistake_in_a_key_hides_none_in_the_search(place, line, words):
    (place / "some.yaml").write_text(f"name: some\nsearch: {{metric.d: [0.1, 0.2]}}\n{line}\n")
    with pytest.raises(SpecError) as error:
        studies.load(place / "some.yaml")
    first, second = error.value.problems
    assert words in first
    assert "search.metric.d: pseudo_huber has no such field" in second


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite", "needs a URL"),
        ("postgresql://u:secret@localhost:1/x", "@localhost:1/x"),
        ("sqlite:////no/such/x.db", "unable to open"),
    ],
)
def test_a_storage_that_can_not_be_had_is_one_line_without_its_password(place, url, words):
    plan = studies.load(place / "some.yaml")
    with pytest.raises(SpecError) as error:
        studies.open_study(plan, Store(place / "runs").path, url)
    assert words in str(error.value)
    assert "secret" not in str(error.value)


def test_a_database_serves_two_processes(place):
    plan, store = studies.load(place / "some.yaml"), Store(place / "runs")
    url = f"sqlite:///{place}/studies.db"
    found = []
    for trials in (5, 12):
        plan = studies.load(place / "some.yaml", overrides={"trials": trials})
        study = studies.open_study(plan, store.path, url)
        executor = Instant()
        studies.run(plan, study, store, lambda s, follow, n, e=executor: Scheduler(e, s, follow))
        found.append(len(executor.computed))
    assert found == [5, 7]


@pytest.mark.slow
def test_a_study_killed_twice_ends_with_all_trials(place):
    """The real thing: workers, a journal, kill -9 of the parent."""
    small = [
        "profile.images=512",
        "profile.evaluation.samples=64",
        "network.width=8",
        "network.attention=[]",
        "trials=6",
    ]
    sets = [part for pair in small for part in ("--set", pair)]
    command = [sys.executable, "-m", "ablate", "study", "some.yaml", "--workers", "2", "--no-doctor", *sets]
    for seconds in (12, 16):
        process = subprocess.Popen(command, cwd=place, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run([*command, "--json"], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sum(json.loads(done.stdout)["states"].values()) == 6
    again = subprocess.run([*command, "--json"], cwd=place, capture_output=True, text=True, check=False)
    assert json.loads(again.stdout)["best"] == json.loads(done.stdout)["best"]


def test_a_trial_that_was_asked_for_a_moment_ago_is_not_dead(place):
    study = optuna.create_study()
    trial = study.ask()
    assert requeue_dead(study) == 0  # its process has not yet said whose it is
    trial.set_user_attr(OWNER, ["another machine", "x", 1, 0.0])
    assert requeue_dead(study) == 1
