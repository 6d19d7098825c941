"""Defect D27: in public code, masks of two parts of a batch overlap. Here every image draws each choice of its own."""

from __future__ import annotations

import pytest
import torch

import ablate
from ablate.config.profile import Data, Profile
from ablate.data.datasets import Images
from ablate.training.trainer import Trainer

STEPS, BATCH = 300, 8


@pytest.fixture(scope="module")
def drawn():
    """Whether the label of each image was dropped, its u, and a value of its noise: each (STEPS, BATCH)."""
    data = Data(name="digits", labels=True, label_dropout=0.25)
    profile = Profile(name="tiny", data=data, batch=BATCH, images=BATCH * STEPS)
    small = {"network.width": 8, "network.multipliers": [1], "network.blocks": 1, "network.attention": []}
    recipe = ablate.apply(ablate.load_recipe("ict"), {**small, "embedding.channels": 16}).for_images(
        (1, 8, 8)
    )
    pixels, labels = torch.zeros(40, 1, 8, 8, dtype=torch.uint8), torch.arange(40) % 4
    trainer = Trainer(recipe, profile, Images(pixels, labels, pixels[:4], labels[:4], 4, "made"), 0)
    steps = [trainer.draws(k) for k in range(STEPS)]
    dropped = torch.stack([d.label.sum(1) == 0 for d in steps])
    return dropped, torch.stack([d.u for d in steps]), torch.stack([d.z[:, 0, 0, 0] for d in steps])


def test_every_place_in_a_batch_is_in_both_parts(drawn):
    dropped, _, _ = drawn
    share = dropped.double().mean(0)
    assert ((share > 0.15) & (share < 0.35)).all()


@pytest.mark.parametrize("which", [1, 2], ids=["levels", "noise"])
def test_images_without_a_label_have_the_same_levels_and_noise(drawn, which):
    dropped, values = drawn[0].flatten(), drawn[which].flatten().double()
    a, b = values[dropped].sort().values, values[~dropped]
    assert float((a[None] <= b[:, None]).double().mean()) == pytest.approx(0.5, abs=0.04)


def test_levels_and_noise_have_nothing_in_common(drawn):
    _, u, z = drawn
    assert abs(float(torch.corrcoef(torch.stack([u.flatten(), z.flatten().double()]))[0, 1])) < 0.06
