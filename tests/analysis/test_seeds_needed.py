"""What decides an open claim: seeds that are enough for effects of a factorial, their cost and the command."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from helpers.recorded import put

from ablate.analysis import verdicts
from ablate.analysis.results import Results
from ablate.analysis.seeds_needed import seeds_needed
from ablate.cli import outcome
from ablate.core import yaml_files
from ablate.planning.planner import load
from ablate.report.page import page
from ablate.runs.store import Store
from ablate.statistics.significance import ALPHA

DEVIATION = 0.1  # of log FID over seeds
FULL = {"from": "ct", "to": "ict", "axes": ["metric", "teacher", "noise"], "resolution": "full"}
HALF = FULL | {"axes": [*FULL["axes"], "weighting"], "resolution": "IV"}
TWO = FULL | {"axes": ["metric", "teacher"]}


def plan(tmp_path, factorial, *claims, **more):
    entries = [{"id": str(i), "says": "s", **claim} for i, claim in enumerate(claims)]
    content = {"name": "made", "seeds": [0, 1], "plan": [{"factorial": factorial}], "claims": entries}
    (tmp_path / "made.yaml").write_text(yaml_files.write(content | more))
    return load(tmp_path / "made.yaml")


def table(experiment, axes, effect, noise):
    """FIDs of rows in which one effect is not zero; noise: (rows, seeds) of log FID."""
    means = [effect / 2 * math.prod(row.levels[a] for a in axes) for row in experiment.rows]
    return {
        (i, 1): {"": {seed: math.exp(3 + mean + n) for seed, n in enumerate(noise[i])}}
        for i, mean in enumerate(means)
    }


def typical(rows):
    """Noise of two seeds by which effects are seen as they are, and all of them vary over seeds as they do."""
    size = DEVIATION / math.sqrt(2 * rows)
    return [(v, -v) for v in [-size] * (rows - 1) + [size * (rows - 1)]]


@pytest.mark.parametrize(
    ("factorial", "claim", "others", "effect"),
    [
        (FULL, {"interaction": ["metric", "teacher"]}, 0, 0.09),
        (FULL, {"interaction": ["noise", "metric"], "sign": "negative"}, 2, -0.1),
        (HALF, {"main_effect": "noise"}, 1, -0.08),
        (TWO, {"main_effect": "teacher", "sign": "any"}, 0, 0.15),
    ],
)
def test_with_so_many_seeds_four_of_five_tables_decide(tmp_path, factorial, claim, others, effect):
    experiment = plan(tmp_path, factorial, claim, *[{"main_effect": "metric"}] * others)
    axes = claim.get("interaction") or [claim["main_effect"]]
    rows, rng = len(experiment.rows), np.random.default_rng(0)
    first = verdicts.answers(experiment, table(experiment, axes, effect, typical(rows)))[0]
    needed = first.seeds
    assert first.state == "undecided"
    assert 2 < needed < 15

    def decided(seeds, tables=150):
        found = 0
        for _ in range(tables):
            shared = rng.normal(0, DEVIATION, seeds)  # of a seed, in all rows
            noise = rng.normal(0, DEVIATION, (rows, seeds)) + shared
            of = verdicts._tested(experiment.claims[0], experiment, table(experiment, axes, effect, noise))
            found += of.p * len(experiment.claims) <= ALPHA
        return found / tables

    assert decided(needed) >= 0.8 - 2 * math.sqrt(0.8 * 0.2 / 150)
    assert decided(needed - 1) <= 0.8 + 2 * math.sqrt(0.8 * 0.2 / 150)


@pytest.mark.parametrize(
    "change",
    [
        lambda fids: fids[3, 1][""].update({1: math.inf}),  # a recipe that diverged is in no fit
        lambda fids: [found[""].pop(1) for found in fids.values()],  # one seed has no spread
        lambda fids: fids[3, 1][""].pop(1),  # nor has a recipe of one seed
    ],
)
def test_without_the_spread_over_seeds_of_all_rows_there_is_no_number(tmp_path, change):
    experiment = plan(tmp_path, FULL, {"interaction": ["metric", "teacher"]})
    fids = table(experiment, ["metric", "teacher"], 0.05, typical(8))
    assert verdicts.answers(experiment, fids)[0].seeds
    change(fids)
    (verdict,) = verdicts.answers(experiment, fids)
    assert (verdict.state, verdict.seeds) == ("undecided", None)


def recorded(experiment, store):
    """Records in which the only effect is too small for two seeds."""
    fids = table(experiment, ["teacher"], -0.12, typical(len(experiment.rows)))
    for i, row in enumerate(experiment.rows):
        for seed, key in enumerate(row.keys):
            put(store, experiment.cells[key], fids[i, 1][""][seed])


def test_cost_and_command_stand_beside_the_number(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", [str(Path(verdicts.__file__).parents[1] / "__main__.py"), "report"])
    for claim in (
        {"main_effect": "teacher"},
        {"better": {"teacher": "none"}, "worse": {"teacher": "adaptive"}},
    ):
        place = tmp_path / next(iter(claim))
        place.mkdir()
        experiment, store = plan(place, TWO, claim), Store(place / "runs")
        recorded(experiment, store)
        results = Results(experiment, store)
        found = seeds_needed(results, results.verdicts[0])
        seeds = ",".join(map(str, range(found.seeds)))
        assert found.seconds == 4 * (found.seeds - 2) * 60.25
        assert found.words == (str(place / "made.yaml"), "--seeds", seeds)
        assert f"; {found.seeds} seeds would decide, " in page(results, [])
        assert f"`ablate run {place / 'made.yaml'} --seeds {seeds}`" in page(results, [])
        assert f"-m ablate run {place / 'made.yaml'} --seeds {seeds}`" in outcome.verdicts(results)


def test_the_command_has_the_changes_of_the_command_line_and_leaves_seeds_of_trials_out(tmp_path):
    tune = {"search": {"optimizer.lr": [0.001, 0.01]}, "seeds": [3], "trials": 2}
    plan(tmp_path, TWO, {"main_effect": "teacher"}, tune=tune)
    changes = {"network.dropout": 0.1, "profile.images": 1600}
    experiment, store = load(tmp_path / "made.yaml", overrides=changes), Store(tmp_path / "runs")
    recorded(experiment, store)
    results = Results(experiment, store)
    words = seeds_needed(results, results.verdicts[0]).words
    assert words[1:5] == ("--set", "network.dropout=0.1", "--set", "profile.images=1600")
    assert words[-1].startswith("0,1,2,4,5")


def test_a_file_that_adds_seeds_itself_gets_no_others(tmp_path):
    for most, said in ((20, "ablate run"), (3, "but the file's `seeds` end at 3")):
        seeds = {"min": 2, "max": most, "until": "decided"}
        experiment, store = (
            plan(tmp_path, TWO, {"main_effect": "teacher"}, seeds=seeds),
            Store(tmp_path / "runs"),
        )
        recorded(experiment, store)
        results = Results(experiment, store)
        found = seeds_needed(results, results.verdicts[0])
        assert "--seeds" not in found.words
        assert said in found.text()


def test_a_decided_claim_needs_nothing(tmp_path):
    experiment, store = plan(tmp_path, TWO, {"main_effect": "teacher"}), Store(tmp_path / "runs")
    fids = table(experiment, ["teacher"], -2.0, typical(4))
    for i, row in enumerate(experiment.rows):
        for seed, key in enumerate(row.keys):
            put(store, experiment.cells[key], fids[i, 1][""][seed])
    results = Results(experiment, store)
    assert results.verdicts[0].state == "supported"
    assert seeds_needed(results, results.verdicts[0]) is None
