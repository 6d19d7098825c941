"""Cells that need other cells: keys, images, order, names, and what is refused at planning."""

from __future__ import annotations

import json

import pytest
from helpers.cli import call

import ablate
from ablate.doctor.gate import distinct
from ablate.execution.runner import missing
from ablate.planning import planner
from ablate.runs import status
from ablate.runs.space import cells as held
from ablate.runs.space import prunable
from ablate.runs.store import Store, assemble, describe
from ablate.tracking.sources import possible

FILE = """
name: tuned
seeds: [0, 1]
base: ect
plan:
  - list:
      - {label: scratch}
      - {label: tuned, set: {init_from: {name: recipe, recipe: edm, share: 0.25}}}
      - {label: all, set: {init_from: {name: recipe, recipe: edm}}}
"""
CLAIM = "claims: [{id: x, says: s, better: {row: tuned}, worse: {row: scratch}}]"
SPEC = "{name: recipe, recipe: edm, share: 0.25}"


def load(folder, text=FILE, **more):
    (folder / "tuned.yaml").write_text(text)
    return planner.load(folder / "tuned.yaml", **more)


def cell(experiment, label, seed=0):
    row = next(row for row in experiment.rows if row.label == label)
    return experiment.cells[row.keys[experiment.seeds.index(seed)]]


def test_both_together_see_as_many_images_as_a_cell_from_scratch(tmp_path):
    for images in (11200, 11200 - 16, 16 * 33):
        e = load(tmp_path, overrides={"profile.images": images})
        tuned, whole = cell(e, "tuned"), cell(e, "all")
        assert tuned.profile.steps + tuned.needs["init_from"].profile.steps == images // 16
        assert tuned.needs["init_from"].profile.steps == pytest.approx(images / 64, abs=1)
        assert whole.profile.steps == whole.needs["init_from"].profile.steps == images // 16


def test_the_needed_cell_has_the_seed_images_and_network_and_is_first(tmp_path):
    e = load(tmp_path, overrides={"network.width": 8})
    assert [c.recipe.pairing.name for c in e.all_cells.values()] == ["denoising"] * 4 + ["ect"] * 6
    for seed in (0, 1):
        tuned = cell(e, "tuned", seed)
        need = tuned.needs["init_from"]
        assert (need.seed, need.fingerprint) == (seed, tuned.fingerprint)
        assert need.recipe.network == tuned.recipe.network
        assert need.recipe.embedding == tuned.recipe.embedding
        assert need.recipe.weighting.name == "karras"
    assert set(e.labels().values()) == {"scratch", "tuned", "all", "edm for tuned", "edm for all"}


def test_a_key_names_the_needed_cell_and_not_the_recipes_name(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\nbase: edm\n")
    (tmp_path / "other.yaml").write_text("name: other\nbase: edm\nweighting: uniform\n")
    first = load(tmp_path)
    same = load(tmp_path, FILE.replace("recipe: edm", f"recipe: {tmp_path}/mine.yaml"))
    other = load(tmp_path, FILE.replace("recipe: edm", f"recipe: {tmp_path}/other.yaml"))
    assert [*first.all_cells] == [*same.all_cells]
    assert cell(first, "tuned").key != cell(other, "tuned").key
    assert cell(first, "scratch").key == cell(other, "scratch").key
    assert len({c.key for c in first.all_cells.values()}) == 10


def test_a_row_with_the_recipe_of_a_needed_cell_is_that_cell(tmp_path):
    rows = "{label: edm, base: edm, set: {network.dropout: 0.2, embedding.endpoint: false}}"
    e = load(tmp_path, FILE.replace("- {label: scratch}", f"- {rows}"))
    assert cell(e, "all").needs["init_from"].key == cell(e, "edm").key
    assert len(e.needed) == 2


def test_a_cell_survives_its_config_and_another_seed_is_the_planned_one(tmp_path):
    e = load(tmp_path)
    for label in ("scratch", "tuned", "all"):
        made = assemble(json.loads(json.dumps(describe(cell(e, label)))))
        assert made.at(0).key == made.key == cell(e, label).key
        assert made.at(1).key == cell(e, label, 1).key
        assert e.cell(next(r for r in e.rows if r.label == label), 1).key == cell(e, label, 1).key
    assert "needs" not in describe(cell(e, "scratch"))


def test_cells_in_a_chain_are_ordered_and_named(tmp_path):
    spec = "{name: recipe, recipe: edm, share: 0.5}"
    (tmp_path / "middle.yaml").write_text(f"name: middle\nbase: ect\ninit_from: {spec}\n")
    e = load(tmp_path, FILE.replace(SPEC, f"{{name: recipe, recipe: {tmp_path}/middle.yaml, share: 0.5}}"))
    last = cell(e, "tuned")
    middle = last.needs["init_from"]
    first = middle.needs["init_from"]
    assert first.profile.steps + middle.profile.steps + last.profile.steps == 700
    keys = [*e.all_cells]
    assert keys.index(first.key) < keys.index(middle.key) < keys.index(last.key)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{name: recipe, recipe: emd}", "init_from.recipe: no recipe 'emd'; did you mean 'edm'?"),
        ("{name: recipe}", "init_from.recipe: recipe needs a value here"),
        ("{name: recipe, recipe: edm, share: 1.0}", "init_from.share: 1.0: input should be less than 1"),
        ("{name: recipe, recipe: edm, share: 0.0001}", "share 0.0001 of 11200 images is less than a batch"),
        ("{name: recipe, recipe: edm, share: 0.9999}", "no images are left of 11200 after the needed cells"),
        ("{name: recipe, recipe: circle.yaml}", "the recipes form a circle: circle.yaml -> circle.yaml"),
    ],
)
def test_mistakes_are_one_line_wherever_a_file_is_planned(spec, said, tmp_path):
    (tmp_path / "circle.yaml").write_text(
        "name: circle\nbase: ect\ninit_from: {name: recipe, recipe: circle.yaml}\n"
    )
    (tmp_path / "tuned.yaml").write_text(FILE.replace(SPEC, spec))
    for words in (("run", "--dry-run"), ("doctor",), ("run",)):
        done = call(words[0], "tuned.yaml", *words[1:], cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "row 'tuned'" in done.stderr
        assert said in done.stderr
    assert not (tmp_path / "runs").exists()


def test_status_prune_and_the_dry_run_know_needed_cells(tmp_path):
    e = load(tmp_path)
    store = Store(tmp_path / "runs")
    for c in e.all_cells.values():
        folder = store.prepare(c)
        folder.record.write_text(json.dumps({"key": c.key, "state": "finished"}))
        (folder.path / "named.json").write_text(json.dumps({"experiment": "tuned", "row": "x"}))
        folder.record.unlink()
    assert len(status.cells(e, store.path)) == 10
    assert {found["row"] for found in status.cells(e, store.path)} == {*e.labels().values()}
    found = held(store, tmp_path / "reports")
    finished = [h.__class__(**{**h.plain(), "state": "finished"}) for h in found]
    assert prunable(store, finished, [e]) == []
    shown = json.loads(call("run", "tuned.yaml", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert shown["cells"] == 10
    assert shown["images"] == 2 * 11200 * 4


def test_what_is_needed_is_computed_only_for_a_row_that_is_missing(tmp_path):
    e, store = load(tmp_path), Store(tmp_path / "runs")
    assert len(missing(e, store)[0]) == 10
    for c in e.cells.values():
        store.prepare(c).record.write_text(json.dumps({"key": c.key, "state": "finished"}))
    assert missing(e, store)[0] == []
    row = cell(e, "tuned")
    store.folder(row.key).record.unlink()
    assert [c.key for c in missing(e, store)[0]] == [row.needs["init_from"].key, row.key]


def test_cells_that_are_read_are_fetched_too_and_those_of_further_seeds(tmp_path):
    e = load(tmp_path, FILE.replace("[0, 1]", "{min: 1, max: 3, until: decided}") + CLAIM)
    assert len(possible(e)) == 3 * (3 + 2)
    assert {*e.all_cells} <= possible(e)


def test_needed_cells_with_one_name_are_both_examined(tmp_path):
    two = "{init_from: {name: recipe, recipe: edm, share: 0.3}, direction: {name: network, recipe: edm, share: 0.2}}"
    e = load(tmp_path, FILE.replace(f"{{init_from: {SPEC}}}", two))
    assert len({c.key for c in distinct(e).values()}) == len(distinct(e)) == 6


def test_without_its_cell_the_option_refuses_to_train():
    option = ablate.build("init_from", {"name": "recipe", "recipe": "edm"})
    with pytest.raises(ablate.SpecError, match=r"only `run` and `study` know the cell"):
        option(None, 0)
