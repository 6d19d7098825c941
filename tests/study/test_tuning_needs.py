"""Tuned rows that need other cells: the trials of a seed read one cell, which is computed once and counted."""

from __future__ import annotations

import json
import math
import re

import pytest
from helpers.cli import call
from helpers.instant_cells import Instant

from ablate.analysis import sequential
from ablate.core.errors import SpecError
from ablate.core.files import read_json
from ablate.execution import runner
from ablate.execution.scheduler import Scheduler
from ablate.planning import planner, trials, tuning
from ablate.planning.cells import read_by
from ablate.runs.store import Folder, Store
from ablate.study import tuning as studies

pytestmark = pytest.mark.usefixtures("two_figures")

FILE = """
name: made
seeds: [0, 1]
base: ict
plan:
  - list:
      - {label: ict}
      - {label: ect, base: ect_tuned}
      - {label: cd, base: cd}
tune: {search: {optimizer.lr: {low: 0.0001, high: 0.1, log: true}}, trials: 3, seeds: [100], images: 0.5}
"""


class WithWeights(Instant):
    """A cell also leaves weights, without which no other can start."""

    def _end(self, path, code):
        Folder(path).model.touch()
        super()._end(path, code)


def fid(recipe, share=1.0):
    return 10 + math.log(recipe["optimizer.lr"] / 0.01) ** 2


@pytest.fixture
def place(tmp_path):
    (tmp_path / "made.yaml").write_text(FILE)
    return tmp_path


def compute(place):
    store, executor = Store(place / "runs"), WithWeights(room=2, fid=fid)
    experiment = sequential.recorded(planner.load(place / "made.yaml"), store.path)
    make = lambda s, follow, n: Scheduler(executor, s, follow)  # noqa: E731
    assert studies.run(experiment, studies.plans(experiment), store, make) == ""
    experiment = sequential.recorded(experiment, store.path)
    assert not runner.run(experiment, store, make).failed
    return experiment, store, executor


def test_each_row_is_tuned_and_what_it_needs_is_computed_once_for_all_trials_of_a_seed(place):
    experiment, store, executor = compute(place)
    rows = {row.label: row for row in experiment.rows}
    assert set(rows) == {name + end for name in ("ict", "ect", "cd") for end in ("", " (tuned)")}
    assert rows["cd (tuned)"].needs == rows["cd"].needs
    for row in rows.values():
        cells = [experiment.cells[key] for key in row.keys]
        assert [experiment.cell(row, seed).key for seed in experiment.seeds] == list(row.keys)
        steps = {c.profile.steps + sum(n.profile.steps for n in read_by([c]).values()) for c in cells}
        assert steps == {700}  # all rows see equally many images
    needed = [key for key in executor.computed if pairing(store, key) == "denoising"]
    assert len(needed) == 2 * (2 + 1)  # of two networks: two reported seeds, one of the trials
    assert len(executor.computed) == len(set(executor.computed)) == 6 + 9 + 3 * 2 * 2
    assert compute(place)[2].computed == []


def pairing(store, key):
    return read_json(store.folder(key).path / "config.json")["specs"]["pairing"]["name"]


def test_a_trial_at_the_rows_own_values_is_the_row_with_fewer_images(place):
    """Its average covers its own share, as the row's does, and not the share of the share."""
    experiment = planner.load(place / "made.yaml")
    for name, made in studies.plans(experiment).items():
        row = tuning.studies(experiment)[name]
        _, cells = made.row("trial", {})
        assert [c.key for c in cells] == [c.key for c in tuning.trial(experiment, row)]
        assert cells[0].recipe == row.recipe
        assert {c.profile.images for c in read_by(cells).values()} == ({2800} if row.needs else set())


def test_the_dry_run_counts_what_trials_need_and_prune_keeps_it(place):
    shown = json.loads(call("run", "made.yaml", "--dry-run", "--json", cwd=place).stdout)
    assert shown["tuning"]["cells"] == 9 + 2  # cd's denoiser has another network than ect's
    assert shown["tuning"]["images"] == 3 * (5600 + 2 * 2800) + 2 * 2800
    experiment = planner.load(place / "made.yaml")
    planned = trials.with_outstanding(experiment).all_cells
    assert len({*planned} - {*experiment.all_cells}) == 9 + 2 + 6
    compute(place)
    answer = json.loads(call("runs", "prune", "made.yaml", "--json", cwd=place).stdout)
    assert answer["entries"] == []


@pytest.mark.parametrize(
    "field",
    [
        "network.dropout",
        "embedding.channels",
        "init_from.share",
        "direction.share",
        "levels.rho",
        "teacher.share",
    ],
)
def test_what_a_needed_cell_depends_on_cannot_be_searched(place, field):
    row = {"direction": "cd", "teacher": "tcm"}.get(field.split(".")[0], "ect")
    text = FILE.replace("- {label: ict}", "- {label: tcm, base: tcm}").replace(
        "optimizer.lr: {low: 0.0001, high: 0.1, log: true}", "FIELD"
    )
    text = re.sub(rf"- {{label: (?!{row}).*\n", "\n", text).replace(
        "FIELD", f"{field}: {{low: 0.1, high: 0.5}}"
    )
    (place / "made.yaml").write_text(text)
    with pytest.raises(SpecError, match=rf"tune.search.{field}: the cells that a row needs depend on it"):
        planner.load(place / "made.yaml")
    for command in (("run",), ("run", "--dry-run"), ("doctor",)):
        done = call(*command, "made.yaml", cwd=place)
        assert (done.returncode, done.stderr.count("error: ")) == (2, 1)


@pytest.mark.parametrize("searched", ["teacher.level", "pairing.boundary", "noise.scale"])
def test_what_no_needed_cell_depends_on_can_be_searched(place, searched):
    """`teacher.level` says where the other cell's network is used."""
    (place / "made.yaml").write_text(
        "name: made\nplan: [{list: [{label: tcm, base: tcm}]}]\n"
        f"tune: {{search: {{{searched}: {{low: 0.3, high: 0.8}}}}, trials: 2, seeds: [100]}}\n"
    )
    experiment = planner.load(place / "made.yaml")
    (made,) = studies.plans(experiment).values()
    cells = [made.row("trial", {searched: value})[1][0] for value in (0.3, 0.8)]
    assert len({cell.key for cell in cells}) == 2
    assert len({key for cell in cells for key in read_by([cell])}) == 2  # ect_tuned and its denoiser


@pytest.mark.parametrize(
    ("searched", "says"),
    [
        ("teacher: [none, fixed]", "teacher: the cells that a row needs depend on it"),
        ("teacher.recipe: [ect, ect_tuned]", "teacher.recipe: the cells that a row needs depend on it"),
        ("teacher.level: [0.8, 1.0]", r"profile.evaluation.sigma_mid: \[0.821\]: below teacher.level=1.0"),
        ("teacher.level: {low: 0.0001, high: 0.8}", "teacher.level: 0.0001: must be at least"),
    ],
)
def test_what_cannot_be_searched_beside_a_needed_cell_is_one_line(place, searched, says):
    (place / "made.yaml").write_text(
        "name: made\nplan: [{list: [{label: tcm, base: tcm}]}]\n"
        f"tune: {{search: {{{searched}}}, trials: 2, seeds: [100]}}\n"
    )
    with pytest.raises(SpecError, match=rf"tune.search.*{says}") as caught:
        planner.load(place / "made.yaml")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("images", [0.001, 0.002])
def test_a_share_too_small_for_a_needed_cell_is_one_line(place, images):
    with pytest.raises(SpecError, match=f"tune.images: {images}: this share of 11200 images is less than a"):
        planner.load(place / "made.yaml", overrides={"tune.images": images})
