from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

import ablate
from ablate.config import recipe as recipes
from ablate.core import plugins, yaml_files
from ablate.core.errors import SpecError
from ablate.core.registry import AXES

NAMES = sorted(yaml_files.named("recipes"))


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_equals_itself_after_yaml_and_back(name):
    recipe = ablate.load_recipe(name)
    assert recipes.build(yaml_files.parse(yaml_files.write(recipe.specs()))) == recipe
    assert ablate.apply(recipe, {}) == recipe


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_equals_itself_after_the_command_line_and_back(name, tmp_path):
    from ablate.cli.options import overrides

    recipe = ablate.load_recipe(name)
    pairs = [f"{k}={json.dumps(v)}" for k, v in recipe.flat().items()]
    assert ablate.apply(ablate.load_recipe("ct"), overrides(pairs)) == recipe


def test_the_two_recipes_of_the_paper():
    ct, ict = ablate.load_recipe("ct").flat(), ablate.load_recipe("ict").flat()
    assert (ict["curriculum"], ict["curriculum.s0"], ict["curriculum.s1"]) == ("exponential", 10, 1280)
    assert (ct["curriculum"], ct["curriculum.s0"], ct["curriculum.s1"]) == ("sqrt", 2, 150)
    assert (ict["noise.p_mean"], ict["noise.p_std"], ct["noise"]) == (-1.1, 2.0, "uniform")
    assert (ict["weighting"], ct["weighting"]) == ("inverse_gap", "uniform")
    assert (ict["metric"], ct["metric"]) == ("pseudo_huber", "squared_l2")
    assert (ict["teacher"], ct["teacher"], ct["teacher.mu0"]) == ("none", "adaptive", 0.9)
    assert (ict["embedding.scale"], ct["embedding.scale"]) == (0.02, 16.0)
    assert (ict["network.dropout"], ct["network.dropout"]) == (0.3, 0.0)
    assert (ict["averaging.decay"], ct["averaging.decay"]) == (0.99993, 0.9999)
    assert (ict["optimizer.lr"], ct["optimizer.lr"]) == (1e-4, 4e-4)


def test_c_follows_the_size_of_the_images():
    recipe = ablate.load_recipe("ict").for_images((3, 32, 32))
    assert recipe.metric.c == pytest.approx(0.0299, abs=1e-4)


def test_a_bare_option_replaces_the_entry_and_a_dotted_key_changes_one_field():
    ict = ablate.load_recipe("ict")
    assert ablate.apply(ict, {"noise.p_std": 1.2}).noise.p_mean == -1.1
    changed = ablate.apply(ict, {"network": "ddpmpp"})
    assert changed.network.dropout == AXES["network"].fields("ddpmpp")["dropout"]
    both = ablate.apply(ict, {"metric.c": 0.3, "metric": "pseudo_huber"})
    assert both.metric.c == 0.3


def test_sticky_fields_survive_a_bare_option():
    specs = ablate.load_recipe("ict").specs()
    replaced = recipes.overlay(specs, {"network": "ddpmpp"}, {"network.width": 16, "optimizer.lr": 0.1})
    assert replaced["network"] == {"name": "ddpmpp", "width": 16}
    assert replaced["optimizer"]["lr"] == 1e-4


def test_ingredients_that_others_use_are_the_recipes_own():
    recipe = ablate.apply(ablate.load_recipe("ict"), {"levels.rho": 3.0, "embedding.scale": 16.0})
    assert recipe.pairing.levels is recipe.levels
    assert recipe.network.embedding is recipe.embedding


def test_every_mistake_of_a_recipe_at_once():
    with pytest.raises(SpecError) as caught:
        recipes.build({"metrc": "l2", "teacher": "nobody", "noise": {"name": "lognormal", "p_std": 0}})
    assert len(caught.value.problems) == 3


def test_one_sigma_min():
    with pytest.raises(SpecError, match="must be equal"):
        ablate.apply(ablate.load_recipe("ict"), {"levels.sigma_min": 0.01})


def test_a_circle_of_bases_is_found(tmp_path):
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    with pytest.raises(SpecError, match="circle"):
        ablate.load_recipe(str(tmp_path / "a.yaml"))


def test_diff_names_both_sides():
    ict = ablate.load_recipe("ict")
    assert ablate.diff(ict, ablate.apply(ict, {"metric.c": 0.3})) == {"metric.c": (None, 0.3)}
    assert recipes.differing(ict, ablate.load_recipe("ct"))[:3] == ["curriculum", "noise", "weighting"]


def test_the_key_depends_on_recipe_budget_and_seed_and_on_nothing_else():
    ict, ct = ablate.load_recipe("ict"), ablate.load_recipe("ct")
    key = recipes.key(ict, {"images": 1}, 0)
    assert key == recipes.key(recipes.build(ict.specs()), {"images": 1}, 0)
    others = [
        recipes.key(ct, {"images": 1}, 0),
        recipes.key(ict, {"images": 2}, 0),
        recipes.key(ict, {"images": 1}, 1),
    ]
    assert len({key, *others}) == 4


def test_every_field_of_every_axis_is_in_the_key():
    ict = ablate.load_recipe("ict")
    flat = ict.flat()
    for name, value in flat.items():
        if isinstance(value, float) and not name.startswith(("levels", "parameterization")):
            changed = ablate.apply(ict, {name: value * 0.5 if value else 0.25})
            assert recipes.key(changed, {}, 0) != recipes.key(ict, {}, 0), name


def test_installed_packages_offer_options_by_entry_point(tmp_path, monkeypatch):
    (tmp_path / "offered.py").write_text("loaded = []\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("mine", "offered:loaded.clear", "ablate.ingredients")
    monkeypatch.setattr(plugins, "_installed", lambda: EntryPoints([point]))
    plugins.load.cache_clear()
    recipes.load_plugins()
    plugins.load.cache_clear()
    assert "offered" in sys.modules
