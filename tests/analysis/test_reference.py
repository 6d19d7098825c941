"""The published numbers, and which rows are the published methods."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablate.analysis import reference
from ablate.analysis.reference import Methods
from ablate.config.profile import load_profile
from ablate.config.recipe import apply, build, overlay, read_specs
from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.planning import planner
from ablate.planning.cells import Row
from ablate.planning.planner import adapted, image_shape

PRINTED = [
    ("CT", "CIFAR-10", 1, 8.70), ("CT", "CIFAR-10", 2, 5.83),
    ("iCT", "CIFAR-10", 1, 2.83), ("iCT", "CIFAR-10", 2, 2.46),
    ("CD", "ImageNet-64", 1, 6.20), ("iCT-deep", "ImageNet-64", 2, 2.77), ("ECT 400k", "CIFAR-10", 2, 2.11),
    ("TCM", "ImageNet-64", 1, 2.20), ("sCT", "CIFAR-10", 2, 2.06), ("EDM", "CIFAR-10", 35, 2.01),
    ("sCT 200k", "CIFAR-10", 1, 3.51), ("generator, no dropout", "CelebA-64", 1, 11.74),
    ("alpha-Flow, p = 1", "ImageNet-256", 1, 52.2), ("MeanFlow, p = 0", "ImageNet-256", 1, 79.75),
    ("IMM, EDM on the linear path", "CIFAR-10", 2, 2.10), ("alpha-Flow, batch 1024", "ImageNet-256", 2, 2.16),
    ("MeanFlow", "CIFAR-10", 1, 2.92),
]  # fmt: skip


EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def published():
    return reference.load()


@pytest.fixture(scope="module")
def profile():
    return load_profile("digits")


def row(name, profile, overrides=()):
    recipe = build(adapted(read_specs(name), profile)).for_images(image_shape(profile))
    return Row(name, "list", apply(recipe, dict(overrides)), {}, ("k",), name)


@pytest.mark.parametrize(("method", "dataset", "nfe", "fid"), PRINTED)
def test_values_are_as_printed(published, method, dataset, nfe, fid):
    assert [p.fid for p in published.published if (p.method, p.dataset, p.nfe) == (method, dataset, nfe)] == [
        fid
    ]


def test_every_entry_has_a_source_and_stands_once(published):
    assert all(p.source.startswith("arXiv ") for p in published.published)
    named = [(p.method, p.dataset, p.nfe) for p in published.published]
    assert len(set(named)) == len(named) == 87


def test_its_recipes_are_shipped(published):
    assert {p.recipe for p in published.published if p.recipe} <= set(yaml_files.named("recipes"))


def fids(found):
    return [{nfe: p.fid for nfe, p in numbers.items()} for numbers in found]


def test_a_recipe_at_the_profiles_scale_is_the_method(published, profile):
    methods = Methods(published, profile)
    assert fids(methods.of(row("ict", profile))) == [{1: 2.83, 2: 2.46}]
    (numbers,) = methods.of(row("ct", profile))
    assert {nfe: p.method for nfe, p in numbers.items()} == {1: "CT", 2: "CT"}


@pytest.mark.parametrize(
    "overrides", [{"metric.c": 0.1}, {"network.width": 32}, {"teacher": {"name": "adaptive"}}]
)
def test_a_changed_recipe_is_not(published, profile, overrides):
    assert Methods(published, profile).of(row("ict", profile, overrides)) == []


def test_the_published_option_stands_for_the_recipes_own_with_any_fields(published, profile):
    """CT as published has LPIPS; a field of the recipe's own option still has to be the recipe's."""
    generator = {"optimizer": {"name": "lion", "lr": 0.0003}, "coupling": "generator", "network.dropout": 0.0}
    theirs = {**generator, "network": {"name": "ddpmpp", "width": 128}, "embedding": "positional"}
    del theirs["network.dropout"]
    methods = Methods(published, profile)
    assert fids(methods.of(row("ict", profile, generator))) == [{1: 5.95}]
    assert fids(methods.of(row("ict", profile, theirs))) == [{1: 5.95}]
    assert methods.of(row("ict", profile, {**generator, "network.width": 32})) == []
    assert methods.of(row("ict", profile, {**generator, "coupling.share": 1.0})) == []


def rows():
    """The published rows with a recipe: entry and the fields of its row at the paper's scale."""
    for p in reference.load().published:
        if p.recipe:
            recipe = build(overlay(read_specs(p.recipe), p.set))
            yield p, recipe.for_images((3, 32, 32)).flat()


def test_what_differs_names_fields_of_the_row_and_differs_from_them():
    for p, flat in rows():
        assert p.but.keys() <= flat.keys(), p.method
        assert not [field for field, value in p.but.items() if flat[field] == value], p.method


def test_a_power_of_the_velocitys_error_is_metric_and_weighting():
    """A row with the weighting `flow` has its p in the metric `adaptive`, too; squared L2 is p = 0."""
    for p, flat in rows():
        if flat["parameterization"] == "flow" and "metric" not in p.but and flat["weighting"] == "flow":
            power = flat["metric.p"] if flat["metric"] == "adaptive" else {"squared_l2": 0.0}[flat["metric"]]
            assert flat["weighting.p"] == power, p.method


@pytest.mark.parametrize(
    ("name", "fields", "fid"),
    [
        ("tcm", {"teacher.level": 1.0, "noise.low": 1.0, "pairing.cap": 0.999}, {1: 2.46, 2: 2.05}),
        ("cd", {"network.dropout": 0.0, "embedding.scale": 16.0}, {1: 3.55, 2: 2.93}),
        ("meanflow", {"noise.p_mean": -2.0, "noise.p_std": 2.0, "pairing.end_mean": None}, {1: 2.92}),
    ],
)
def test_a_row_with_the_published_fields_is_the_method_too(published, tmp_path, name, fields, fid):
    """With none of them, one of them or all; a field with another value than either is another recipe."""
    given = [{}, *({k: v} for k, v in fields.items()), fields]
    others = [{**fields, "network.double_norm": True}, {next(iter(fields)): 0.9}]
    plan = [{"label": str(i), "set": changed} for i, changed in enumerate([*given, *others])]
    file = tmp_path / "rows.yaml"
    file.write_text(
        json.dumps(
            {"name": "rows", "profile": "digits", "seeds": [0], "base": name, "plan": [{"list": plan}]}
        )
    )
    experiment = planner.load(file, overrides={"profile.evaluation.sigma_mid": [1.5]})  # above every level
    methods = Methods(published, experiment.profile)
    assert [fids(methods.of(r)) for r in experiment.rows] == [[fid]] * len(given) + [[]] * len(others)


MIRRORED = {
    "coupling": {
        "independent": [{1: 7.42}],
        "optimal transport": [{1: 6.75}],
        "generator, no dropout": [{1: 5.95}],
    },
    "flow": {
        "flow": [{1: 59.2}, {1: 79.75}, {2: 2.53}],
        "p = 1/2": [{1: 55.0}, {1: 63.98}],
        "p = 1": [{1: 52.2}, {1: 61.06}],
        "p = 3/2": [{1: 66.57}],
        "times of ImageNet, (-0.4, 1)": [{1: 79.75}, {1: 61.06}],
        "EDM's parameterization": [{2: 2.1}],
        "ict": [{1: 2.83, 2: 2.46}],
    },
    "self_distillation": {
        "meanflow": [{1: 2.92}],
        "LSD": [{1: 8.1, 2: 4.37, 4: 3.34}],
        "PSD-M": [{1: 12.81, 2: 8.43, 4: 5.96}],
        "PSD-U": [{1: 13.61, 2: 7.95, 4: 6.03}],
    },
    "sct_stabilizers": {"sct": [{1: 2.85, 2: 2.06}, {1: 3.97}, {1: 3.51}, {1: 3.09}]},
    "ect_tuned": {"half of the images denoising": [{1: 4.54, 2: 2.2}, {1: 3.86, 2: 2.15}, {1: 3.6, 2: 2.11}]},
    "direction": {"ict": [{1: 2.83, 2: 2.46}], "cd": [{1: 3.55, 2: 2.93}], "scd": [{1: 3.66, 2: 2.52}]},
    "family": {
        "ct": [{1: 8.7, 2: 5.83}],
        "ict": [{1: 2.83, 2: 2.46}],
        "ect_tuned": [{1: 4.54, 2: 2.2}, {1: 3.86, 2: 2.15}, {1: 3.6, 2: 2.11}],
        "tcm": [{1: 2.46, 2: 2.05}],
        "sct": [{1: 2.85, 2: 2.06}, {1: 3.97}, {1: 3.51}, {1: 3.09}],
        "cd": [{1: 3.55, 2: 2.93}],
        "scd": [{1: 3.66, 2: 2.52}],
        "flow": [{1: 59.2}, {1: 79.75}, {2: 2.53}],
        "meanflow": [{1: 2.92}],
    },
}


@pytest.mark.parametrize("name", MIRRORED)
def test_rows_of_an_experiment_that_mirrors_a_table_have_its_numbers(published, name):
    """Also a row that shares its images with a denoiser, and so has a shorter average."""
    experiment = planner.load(EXPERIMENTS / f"{name}.yaml")
    methods = Methods(published, experiment.profile)
    found = {r.label: fids(methods.of(r)) for r in experiment.rows}
    assert {label: numbers for label, numbers in found.items() if numbers} == MIRRORED[name]


def test_the_data_set_follows_the_profile(profile):
    assert reference.dataset(profile) == "CIFAR-10"
    assert reference.dataset(profile.model_copy(update={"name": "imagenet64-paper"})) == "ImageNet-64"


def test_a_method_without_a_recipe_file_is_no_row(published, profile):
    alone = published.published[0].model_copy(update={"recipe": "no-such-recipe"})
    assert Methods(published.model_copy(update={"published": [alone]}), profile).of(row("ct", profile)) == []


def test_a_table_of_another_set_is_shown_with_any_profile_but_not_beside_a_number_of_its_own(
    published, profile
):
    first = published.published[0].model_copy(update={"method": "A", "recipe": "ict", "but": {}})
    for sets, shown in [
        (["CelebA-64", "CIFAR-10"], ["CIFAR-10"]),
        (["CelebA-64", "LSUN"], ["CelebA-64"]),
        (["ImageNet-64"], []),
    ]:
        given = [first.model_copy(update={"dataset": name}) for name in sets]
        found = Methods(published.model_copy(update={"published": given}), profile).of(row("ict", profile))
        assert [p.dataset for numbers in found for p in numbers.values()] == shown


def test_no_file_is_no_error(monkeypatch, tmp_path):
    monkeypatch.setattr(reference.yaml_files, "folders", lambda kind: [tmp_path / kind])
    assert reference.load() is None


def test_a_mistake_in_the_file_names_it(monkeypatch, tmp_path):
    monkeypatch.setattr(reference.yaml_files, "folders", lambda kind: [tmp_path / kind])
    (tmp_path / "reference.yaml").write_text("published: []\nprotocoll: {}\n")
    with pytest.raises(SpecError, match="protocol"):
        reference.load()
