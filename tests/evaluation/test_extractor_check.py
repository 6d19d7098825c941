from __future__ import annotations

import json
import shutil

import pytest
import torch

from ablate.config.profile import load_profile
from ablate.evaluation import extractor_check
from ablate.evaluation.extractor_check import DAMAGES, blurred, fewer, noisy


def test_no_damage_is_the_image_itself(digits):
    for damaged, strengths in DAMAGES.values():
        assert strengths[0] == 0
        assert torch.equal(damaged(digits, 100, 0), digits.train[:100])


def test_blur_keeps_the_mean_and_takes_the_detail(digits):
    before, after = (x.float() for x in (digits.train[:300], blurred(digits, 300, 1.0)))
    assert after.mean() == pytest.approx(before.mean().item(), rel=0.1)
    assert after.std() < 0.8 * before.std()


def test_noise_has_its_strength_where_nothing_is_clipped(digits):
    difference = noisy(digits, 300, 20.0).float() - digits.train[:300].float()
    inside = (digits.train[:300] > 80) & (digits.train[:300] < 175)
    assert difference[inside].std() == pytest.approx(20, rel=0.1)


def test_the_last_classes_are_left_out_and_the_rest_repeated(digits):
    kept = digits.train[digits.train_labels < 2]
    found = fewer(digits, 700, 8)
    assert found.shape == (700, 1, 8, 8)
    assert torch.equal(found[: len(kept)], kept)
    assert torch.equal(found[len(kept) : 2 * len(kept)], kept[: 700 - len(kept)])


@pytest.fixture(scope="module")
def found(tmp_path_factory, extractor_cache):
    profile = load_profile("digits", {"evaluation.samples": 400})
    cache = shutil.copytree(extractor_cache, tmp_path_factory.mktemp("check") / "cache")
    return extractor_check.examine(profile, cache)


def test_more_damage_is_further_away(found):
    assert found.accuracy > 0.95
    assert min(found.order.values()) > 0.9
    assert found.agreement > 0.8


def test_a_point_for_every_strength(found):
    assert len(found.points) == sum(len(strengths) for _, strengths in DAMAGES.values())
    assert json.loads(json.dumps(found.plain()))["extractor"] == found.extractor


def test_the_page_says_what_was_measured_and_by_what(found):
    text = extractor_check.render(found, load_profile("digits"))
    assert found.extractor in text
    assert f"{found.accuracy:.1%}" in text
    assert "n = 400" in text
    assert text.count("\n| ") >= len(found.points)
