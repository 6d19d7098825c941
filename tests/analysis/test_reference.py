"""The published numbers, and which rows are the published methods."""

from __future__ import annotations

import pytest

from ablate.analysis import reference
from ablate.analysis.reference import Methods
from ablate.config.profile import load_profile
from ablate.config.recipe import apply, build, read_specs
from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.planning.cells import Row
from ablate.planning.planner import adapted, image_shape

PRINTED = [
    ("CT", "CIFAR-10", 1, 8.70), ("CT", "CIFAR-10", 2, 5.83),
    ("iCT", "CIFAR-10", 1, 2.83), ("iCT", "CIFAR-10", 2, 2.46),
    ("CD", "ImageNet-64", 1, 6.20), ("iCT-deep", "ImageNet-64", 2, 2.77), ("ECT 400k", "CIFAR-10", 2, 2.11),
    ("TCM", "ImageNet-64", 1, 2.20), ("sCT", "CIFAR-10", 2, 2.06), ("EDM", "CIFAR-10", 35, 2.01),
]  # fmt: skip


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
    assert len(set(named)) == len(named) == 37


def test_its_recipes_are_shipped(published):
    assert {p.recipe for p in published.published if p.recipe} <= set(yaml_files.named("recipes"))


def test_a_recipe_at_the_profiles_scale_is_the_method(published, profile):
    methods = Methods(published, profile)
    assert {nfe: p.fid for nfe, p in methods.of(row("ict", profile)).items()} == {1: 2.83, 2: 2.46}
    assert {nfe: p.method for nfe, p in methods.of(row("ct", profile)).items()} == {1: "CT", 2: "CT"}


@pytest.mark.parametrize(
    "overrides", [{"metric.c": 0.1}, {"network.width": 32}, {"teacher": {"name": "adaptive"}}]
)
def test_a_changed_recipe_is_not(published, profile, overrides):
    assert Methods(published, profile).of(row("ict", profile, overrides)) == {}


def test_the_data_set_follows_the_profile(profile):
    assert reference.dataset(profile) == "CIFAR-10"
    assert reference.dataset(profile.model_copy(update={"name": "imagenet64-paper"})) == "ImageNet-64"


def test_a_method_without_a_recipe_file_is_no_row(published, profile):
    alone = published.published[0].model_copy(update={"recipe": "no-such-recipe"})
    assert Methods(published.model_copy(update={"published": [alone]}), profile).of(row("ct", profile)) == {}


def test_no_file_is_no_error(monkeypatch, tmp_path):
    monkeypatch.setattr(reference.yaml_files, "folders", lambda kind: [tmp_path / kind])
    assert reference.load() is None


def test_a_mistake_in_the_file_names_it(monkeypatch, tmp_path):
    monkeypatch.setattr(reference.yaml_files, "folders", lambda kind: [tmp_path / kind])
    (tmp_path / "reference.yaml").write_text("published: []\nprotocoll: {}\n")
    with pytest.raises(SpecError, match="protocol"):
        reference.load()
