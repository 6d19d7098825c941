"""Tuned rows, with an executor that answers at once: each row's FID has its lowest point at a rate of its own."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.cli import call
from helpers.instant_cells import Instant

from ablate.analysis import sequential
from ablate.analysis.results import Results
from ablate.analysis.tuned import tuned, worse
from ablate.cli.options import Source, source
from ablate.cli.options import tuned as tuned_options
from ablate.core.errors import SpecError
from ablate.core.files import read_json
from ablate.execution import runner
from ablate.execution.scheduler import Scheduler
from ablate.planning import planner, trials, tuning
from ablate.report import writer
from ablate.report.page import page
from ablate.runs.store import Store
from ablate.study import plan as study_files
from ablate.study import tuning as studies

FILE = """
name: made
seeds: [0, 1, 2]
plan:
  - list:
      - {label: huber}
      - {label: l2, set: {metric: l2}}
      - {label: square, set: {metric: squared_l2}}
tune: {search: {optimizer.lr: {low: 0.0001, high: 0.1, log: true}}, trials: 8, seeds: [100]}
claims:
  - {id: U, says: "untuned: Huber is lower", better: {row: huber}, worse: {row: square}}
  - {id: T, says: "tuned: Huber is lower", better: {row: huber}, worse: {row: square}, tuned: true}
  - {id: F, says: "by fields", better: {metric: pseudo_huber}, worse: {metric: l2}, tuned: true}
"""
WORLD = {
    "pseudo_huber": (10.0, 0.03),
    "l2": (14.0, 0.0005),
    "squared_l2": (20.0, 0.002),
}  # lowest FID, its rate


@pytest.fixture
def place(tmp_path):
    (tmp_path / "made.yaml").write_text(FILE)
    return tmp_path


@pytest.fixture(scope="module")
def tuned_once(tmp_path_factory):
    """A folder in which everything is computed. Copy it where you write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        place = tmp_path_factory.mktemp("tuned")
        (place / "made.yaml").write_text(FILE)
        compute(place)
    return place


@pytest.fixture
def done(tuned_once, tmp_path):
    """A copy of that folder."""
    return Path(shutil.copytree(tuned_once, tmp_path, dirs_exist_ok=True))


def objective(world=WORLD, noise=0.02):
    """FID of a recipe: its lowest value times a valley over ln(rate), times noise that the seed decides."""

    def fid(recipe, share=1.0):
        lowest, rate = world[recipe["metric"]]
        draw = random.Random(f"{recipe['seed']} {recipe['metric']}").gauss(0, noise)
        return lowest * math.exp(0.15 * math.log(recipe["optimizer.lr"] / rate) ** 2 + draw) + 10 * (
            1 - share
        )

    return fid


def compute(place, executor=None, **changes):
    """Tune and compute the experiment in `place` as `run` does: the experiment, the store, the executor."""
    executor, store = executor or Instant(room=2, fid=objective()), Store(place / "runs")
    experiment = planner.load(place / "made.yaml", overrides=changes)
    experiment = sequential.recorded(experiment, store.path)
    make = lambda s, follow, n: Scheduler(executor, s, follow)  # noqa: E731
    assert studies.run(experiment, studies.plans(experiment), store, make) == ""
    experiment = sequential.recorded(experiment, store.path)
    assert not runner.run(experiment, store, make).failed
    return experiment, store, executor


def order(results, rows):
    means = results.row_means()
    return sorted(rows, key=means.__getitem__)


def test_tuned_rows_recover_the_true_order_where_untuned_ones_do_not(done):
    experiment, store, _ = compute(done)
    results = Results(experiment, store)
    plain = ["huber", "l2", "square"]
    assert order(results, plain) == ["l2", "square", "huber"]
    assert order(results, map(tuning.named, plain)) == [*map(tuning.named, plain)]
    assert [v.state for v in results.verdicts] == ["contradicted", "supported", "supported"]
    assert results.verdicts[1].because.startswith("tuned: huber against square")
    for entry in tuned(results):
        best = entry.found.best.params["optimizer.lr"]
        ((before, after),) = entry.lines
        true = WORLD[before.row.recipe.metric.name][1]
        assert abs(math.log(best / true)) < 1.5, (entry.label, best)
        assert after.stats["fid", 1, ""].mean <= before.stats["fid", 1, ""].mean * 1.02


@pytest.mark.parametrize("seed", range(3))
def test_in_made_up_worlds_tuning_never_orders_worse(place, seed):
    draw = random.Random(seed)
    world = {m: (10.0 * 1.6**i, math.exp(draw.uniform(-9, -2.4))) for i, m in enumerate(WORLD)}
    results = Results(*compute(place, Instant(room=2, fid=objective(world)))[:2])
    rows = ["huber", "l2", "square"]
    assert order(results, map(tuning.named, rows)) == [*map(tuning.named, rows)]


def test_a_page_says_which_rows_tuning_harmed(place):
    """Trials whose best rate is ten times too high for the reported runs; `l2` is at its best in both."""
    honest, other = objective(), objective({**WORLD, "pseudo_huber": (10.0, 0.3), "squared_l2": (20.0, 0.03)})

    def fid(recipe, share=1.0):
        return (other if recipe["seed"] == 100 else honest)(recipe, share)

    results = Results(*compute(place, Instant(room=2, fid=fid))[:2])
    means = results.row_means()
    names = [n for n in ("huber", "l2", "square") if means[tuning.named(n)] > means[n]]
    assert "square" in names
    assert worse(results) == names
    text = page(results, [])
    assert text.count(f"a higher mean FID than the same row without tuning**: {', '.join(names)}.") == 2
    assert text.index("higher mean FID") < text.index("A claim is supported or contradicted")


def test_a_page_without_harm_says_nothing_of_it(done):
    results = Results(*compute(done)[:2])
    assert worse(results) == []
    assert "higher mean FID" not in page(results, [])


def test_tuned_rows_compare_with_their_tuned_base(done):
    experiment, store, _ = compute(done)
    rows, versus = experiment.rows, Results(experiment, store).versus
    assert [r.tuned and r.tuned.label for r in rows] == [None, None, None, "huber", "l2", "square"]
    assert [v and rows[v.base].label for v in versus] == [
        None,
        "huber",
        "huber",
        None,
        *["huber (tuned)"] * 2,
    ]
    assert set(rows[4].changed) >= {"metric", "optimizer.lr"}


def test_every_study_has_the_same_first_trials_the_rows_own_value_first(done):
    experiment, _, _ = compute(done)
    found = [*experiment.tuning.found.values()]
    firsts = [[t.params["optimizer.lr"] for t in f.tried[:5]] for f in found]
    assert firsts[0] == firsts[1] == firsts[2]
    assert firsts[0][0] == experiment.rows[0].recipe.optimizer.lr
    assert [len(f.tried) for f in found] == [8, 8, 8]


def test_equal_rows_share_a_study_and_reported_cells_keep_their_keys(place):
    equal = FILE.replace("- {label: huber}\n", "- {label: huber}\n      - {label: again}\n")
    plain = {**planner.load(place / "made.yaml").cells}
    (place / "made.yaml").write_text(equal)
    experiment, _, executor = compute(place)
    assert len(tuning.studies(experiment)) == 3
    assert {**plain}.keys() <= experiment.cells.keys()
    rows = {row.label: row.keys for row in experiment.rows}
    assert rows["again (tuned)"] == rows["huber (tuned)"] != rows["huber"]
    tried = {key for f in experiment.tuning.found.values() for t in f.tried for key in t.keys}
    assert len(executor.computed) == len(set(executor.computed)) == len(tried | {*experiment.cells})
    assert len(tried) == 3 * 8


def test_a_second_run_costs_nothing_and_more_trials_only_the_difference(done):
    before = {p.parent.name for p in (done / "runs").glob("*/record.json")}
    assert compute(done)[2].computed == []
    experiment, _, more = compute(done, **{"tune.trials": 10})
    tried = {key for f in experiment.tuning.found.values() for t in f.tried for key in t.keys}
    assert not set(more.computed) & before
    assert len(tried & set(more.computed)) == 3 * 2
    fewer, _, none = compute(done, **{"tune.trials": 5})
    assert [len(f.tried) for f in fewer.tuning.found.values()] == [5, 5, 5]
    assert not {key for f in fewer.tuning.found.values() for t in f.tried for key in t.keys} & set(
        none.computed
    )


def test_kill_9_in_the_middle_loses_nothing(place):
    code = (
        "import os, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "import study_of_tuning as t\n"
        "class Killed(t.Instant):\n"
        "    def _end(self, path, code):\n"
        "        super()._end(path, code)\n"
        "        if len(self.computed) == 13: os.kill(os.getpid(), signal.SIGKILL)\n"
        "t.compute(Path(sys.argv[1]), Killed(room=2, fid=t.objective()))\n"
    )
    (place / "study_of_tuning.py").write_text(Path(__file__).read_text())
    helpers = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(helpers)!r})\n{code}", place, place],
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    before = {p.parent.name: p.stat().st_mtime_ns for p in (place / "runs").glob("*/record.json")}
    assert len(before) == 13
    half = sequential.recorded(planner.load(place / "made.yaml"), place / "runs")
    ended = [f.row for f in half.tuning.found.values() if f.complete]
    assert [row.tuned.label for row in half.rows if row.tuned] == ended == ["huber"]
    assert 0 < trials.listing(half)["tuning"]["ended"] < 24
    experiment, _, executor = compute(place)
    assert not set(before) & set(executor.computed)
    assert all(f.complete and len(f.ended) == 8 for f in experiment.tuning.found.values())
    tried = {key for f in experiment.tuning.found.values() for t in f.tried for key in t.keys}
    assert set(before) <= tried | set(experiment.cells)
    assert compute(place)[2].computed == []


def test_an_interrupted_tuning_shows_how_far_it_is(place):
    with pytest.raises(KeyboardInterrupt):
        compute(place, Instant(room=2, dies_after=6, fid=objective()))
    words = ["made.yaml", "--runs-dir", "runs"]
    answer = json.loads(call("status", *words, "--json", cwd=place).stdout)["cells"]
    assert [c for c in answer if c["row"].startswith("huber, trial 0")]
    experiment = sequential.recorded(planner.load(place / "made.yaml"), place / "runs")
    text = page(Results(experiment, Store(place / "runs")), [])
    assert "of 8 trials" in text
    assert "no row is tuned yet" in text
    text = page(Results(*compute(place)[:2]), [])
    assert "of 8 trials" not in text
    assert "| huber (tuned)" in text


def test_pruned_trials_never_win_and_count_as_the_highest(place):
    chosen = {"tune.pruner": {"name": "MedianPruner", "n_startup_trials": 3}, "tune.trials": 8}
    experiment, store, _ = compute(place, Instant(room=1, rungs=4, fid=objective()), **chosen)
    states = [t.state for f in experiment.tuning.found.values() for t in f.tried]
    assert "pruned" in states
    assert "running" not in states
    for entry in tuned(Results(experiment, store)):
        assert len(entry.values) == 8
        assert entry.expected(8) >= entry.found.best.value


def test_a_row_whose_trials_all_diverge_is_not_tuned(place):
    states = {i: "diverged" for i in range(8)}
    experiment, store, _ = compute(place, Instant(room=1, states=states, fid=objective()))
    assert sorted(row.tuned.label for row in experiment.rows if row.tuned) == ["l2", "square"]
    assert "no trial is complete" in page(Results(experiment, store), [])
    assert compute(place)[2].computed == []


def test_a_report_is_made_again_from_its_own_files(done, monkeypatch):
    experiment, store, _ = compute(done)
    folder = writer.write(experiment, store, done / "reports")
    assert (folder / "tuning.png").stat().st_size > 3000
    table = (folder / "table.csv").read_text()
    text = (folder / "table.md").read_text()
    assert "## Tuned rows" in text
    assert "| huber (tuned)" in text
    assert read_json(folder / "tuning.json")["studies"][0]["best"]["params"]
    again = ["report", "made.yaml", "--runs-dir", "none", "--reports-dir"]
    (folder / "table.csv").unlink()
    monkeypatch.setattr("ablate.report.figure.draw", lambda results, folder: ([], True, {}))  # drawn above
    assert call(*again, "reports", cwd=done).returncode == 0
    assert (folder / "table.csv").read_text() == table
    assert call(*again, "elsewhere", "--from", folder, cwd=done).returncode == 0
    assert (done / "elsewhere" / "made" / "table.csv").read_text() == table
    assert call("fetch", folder, "made.yaml", "--runs-dir", "fetched", cwd=done).returncode == 0
    assert sequential.recorded(planner.load(done / "made.yaml"), done / "fetched").rows == experiment.rows


def test_trials_are_no_orphans(done):
    experiment, _, _ = compute(done)
    answer = json.loads(call("runs", "prune", "made.yaml", "--json", cwd=done).stdout)
    assert answer["entries"] == []
    fewer = ["--set", "tune.trials=5"]
    answer = json.loads(call("runs", "prune", "made.yaml", *fewer, "--json", cwd=done).stdout)
    gone = {h["key"] for h in answer["entries"]}
    tried = [{key for t in f.tried for key in t.keys} for f in experiment.tuning.found.values()]
    assert gone <= set().union(*tried) | {*experiment.cells}
    held = json.loads(call("runs", "list", "--json", cwd=done).stdout)["entries"]
    assert {h["experiment"] for h in held} == {"made"}
    assert len(held) == len({*experiment.cells}.union(*tried))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tune.seeds": [2]}, r"tune.seeds: 2: it is one of the reported seeds"),
        ({"tune.seeds": []}, r"tune.seeds: needs at least one seed"),
        ({"tune.seeds": [5, 5]}, r"tune.seeds: 5 is listed twice"),
        (
            {"tune.search.metric.c": {"low": 0.1, "high": 1}},
            r"tune.search.metric.c: squared_l2 has no such field",
        ),
        (
            {"tune.search.optimiser.lr": {"low": 0.1, "high": 1}},
            r"optimiser.lr: no such axis; did you mean 'optimizer'",
        ),
        ({"tune.search.optimizer.lr": {"low": 1, "high": 0.1}}, r"low < high must hold"),
        ({"tune.search.optimizer.lr": 0.1}, r"needs \{low, high\}.*not 0.1"),
        (
            {"tune.search.network.dropout": {"low": 0, "high": 2}},
            r"network.dropout: 2: input should be less than 1",
        ),
        (
            {"tune.search.teacher": ["none", "adaptve"]},
            r"teacher: no option 'adaptve'; did you mean 'adaptive'",
        ),
        (
            {"tune.images": 0.0005},
            r"tune.images: 0.0005: this share of 11200 images is less than a batch of 16",
        ),
        ({"tune.images": 0.01}, r"tune.images: 0.01: .*K >= log2"),
        ({"tune.trails": 3}, r"tune.trails: unknown key; did you mean 'trials'"),
        ({"tune.sampler": "TPESample"}, r"tune.sampler: no class 'TPESample'; did you mean 'TPESampler'"),
        (
            {"tune.pruner": {"name": "MedianPruner", "x": 1}},
            r"tune.pruner.x: MedianPruner has no such argument",
        ),
    ],
)
def test_mistakes_are_one_line_before_anything_runs(place, changes, problem):
    with pytest.raises(SpecError, match=problem):
        studies.plans(planner.load(place / "made.yaml", overrides=changes))


@pytest.mark.parametrize("command", [("run",), ("run", "--dry-run"), ("doctor",)])
def test_every_command_refuses_alike(place, command):
    wrong = ["--tuning-seeds", "1,100", "--tune", "metric.c=0.1..1:log"]
    done = call(*command, "made.yaml", *wrong, cwd=place)
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 3
    assert "tune.seeds: 1:" in done.stderr
    assert "(row 'l2')" in done.stderr
    assert "(row 'square')" in done.stderr
    sampler = call(*command, "made.yaml", "--set", "tune.sampler=Nothing", cwd=place)
    assert (sampler.returncode, "tune.sampler: no class 'Nothing'" in sampler.stderr) == (2, True)
    assert not (place / "runs").exists()


def test_the_command_line_alone_can_tune(place):
    plain = FILE.split("tune:")[0]
    (place / "made.yaml").write_text(plain)
    experiment = Source(
        place / "made.yaml", None, tuned_options(["optimizer.lr=0.0005..0.05:log"], 8, "100,101"), None
    ).experiment()
    shown = trials.listing(experiment)["tuning"]
    assert (shown["trials"], shown["cells"], shown["ended"], shown["unknown"]) == (24, 48, 0, 9)
    assert shown["images"] == 48 * 11200
    assert len(trials.with_outstanding(experiment).cells) == 9 + 48 + 9
    answer = "\n".join(trials.overview(experiment))
    assert "8 trials for each of 3 recipes, 48 cells of 537600 images" in answer
    assert "tuned rows: 9 cells with keys that are unknown until then" in answer
    bad = call("run", "made.yaml", "--dry-run", "--tune", "optimizer.lr=3", cwd=place)
    assert (bad.returncode, "needs FIELD=LOW..HIGH[:log]" in bad.stderr) == (2, True)
    assert call("run", "made.yaml", "--dry-run", "--trials", "8", cwd=place).returncode == 2


@pytest.mark.parametrize("option", ["ncsnpp", "ddpmpp"])
def test_a_trial_of_an_option_keeps_the_rows_fields_or_gets_the_profiles(place, option):
    (place / "made.yaml").write_text(FILE.split("tune:")[0])
    changes = {"tune.search.network": ["ncsnpp", "ddpmpp"], "network.blocks": 2}
    experiment = planner.load(place / "made.yaml", overrides=changes)
    (place / "study.yaml").write_text("name: s\nsearch: {network: [ncsnpp, ddpmpp]}\n")
    study = study_files.load(place / "study.yaml", overrides={"network.blocks": 2})
    for (name, row), plan in zip(
        tuning.studies(experiment).items(), studies.plans(experiment).values(), strict=True
    ):
        tried, cells = plan.row("trial", {"network": option})
        settings = experiment.tuning.shape, tuning.kept(experiment)
        assert tried.recipe == tuning.tuned_recipe(row, {"network": option}, *settings), name
        same = study.row("x", {"network": option})[0].recipe.network
        assert tried.recipe.network.width == same.width == 16
        assert tried.recipe.network.blocks == same.blocks == 2
        if option == row.recipe.network.name:
            assert cells[0].recipe == row.recipe
            assert tried.recipe.network.dropout == 0.3


@pytest.mark.parametrize(
    ("sampler", "search"),
    [
        ("GridSampler", {"teacher": ["none", "adaptive"]}),
        ("BruteForceSampler", {"teacher": ["none", "adaptive"], "optimizer.lr": [0.001, 0.01, 0.1]}),
        ("GridSampler", {"noise.p_mean": {"low": -1.0, "high": 0.1, "step": 0.3}}),
        ("GridSampler", {"network.width": {"low": 8, "high": 12}}),
        ("GridSampler", {"network.width": {"low": 8, "high": 13, "step": 2}}),
        (
            "GridSampler",
            {"metric": ["l2", "pseudo_huber"], "metric.c": {"low": 0.1, "high": 0.3, "step": 0.1}},
        ),
        (
            {"name": "GridSampler", "search_space": {"optimizer.lr": [0.1, 0.1, 0.01]}},
            {"optimizer.lr": [0.1, 0.01, 0.001]},
        ),
        (
            {
                "name": "PartialFixedSampler",
                "fixed_params": {"optimizer.lr": 0.01},
                "base_sampler": "GridSampler",
            },
            {"optimizer.lr": {"low": 0.001, "high": 0.1}, "teacher": ["none", "adaptive"]},
        ),
        ("TPESampler", {"teacher": ["none", "adaptive"]}),
    ],
)
def test_the_planner_counts_trials_as_the_study_does(place, sampler, search):
    (place / "made.yaml").write_text(FILE.split("tune:")[0])
    changes = {
        "tune.sampler": sampler,
        "tune.trials": 8,
        **{f"tune.search.{k}": v for k, v in search.items()},
    }
    experiment = planner.load(place / "made.yaml", overrides=changes)
    numbers = [plan.most for plan in studies.plans(experiment).values()]
    assert trials.listing(experiment)["tuning"]["trials"] == sum(numbers)
    assert (numbers[0] < 8) == (sampler != "TPESampler")


def test_a_grid_of_two_points_is_two_trials_everywhere(place):
    lines = FILE.replace("{low: 0.0001, high: 0.1, log: true}", "[0.002, 0.02]").replace(
        "trials: 8", "trials: 8, sampler: GridSampler"
    )
    (place / "made.yaml").write_text(lines)
    dry = json.loads(call("run", "made.yaml", "--dry-run", "--json", cwd=place).stdout)["tuning"]
    before = planner.load(place / "made.yaml")
    assert "0 of 2 trials" in page(Results(before, Store(place / "runs")), [])
    experiment, store, _ = compute(place)
    found = experiment.tuning.found.values()
    assert [len(f.tried) for f in found] == [2, 2, 2]
    assert (dry["trials"], dry["cells"]) == (6, 6)
    text = page(Results(experiment, store), [])
    assert re.findall(r"best of (\d+) \|", text) == ["1", "2"]
    assert "; 2 trials a row on seed 100" in text


def test_the_plans_of_the_studies_are_made_once(place, monkeypatch):
    experiment, store = planner.load(place / "made.yaml"), Store(place / "runs")
    made, executor = studies.plans(experiment), Instant(room=2, fid=objective())
    monkeypatch.setattr(studies, "plans", None)
    fewer = experiment.only(experiment.rows[1:2])
    assert studies.run(fewer, made, store, lambda s, follow, n: Scheduler(executor, s, follow)) == ""
    assert len(executor.computed) == 8


def test_trials_of_the_command_line_are_those_of_the_files_kind(place):
    (place / "study.yaml").write_text("name: s\nsearch: {metric.c: {low: 0.1, high: 1.0}}\n")
    assert source(place / "made.yaml", trials=5).overrides == {"tune.trials": 5}
    assert source(place / "study.yaml", trials=5).overrides == {"trials": 5}
    assert study_files.load(place / "study.yaml", overrides={"trials": 5}).content.trials == 5
    with pytest.raises(SpecError, match=r"tune.trials: this is a study file"):
        study_files.load(place / "study.yaml", overrides={"tune.trials": 5})


def test_a_claim_on_tuned_rows_needs_tune(place):
    (place / "made.yaml").write_text(
        "\n".join(line for line in FILE.splitlines() if not line.startswith("tune:"))
    )
    with pytest.raises(SpecError, match=r"claims\[1\] \(T\): tuned: the file has no `tune`"):
        planner.load(place / "made.yaml")
