"""The first ten losses of three recipes on the digits are pinned, where they were recorded to the last bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ablate.config.profile import load_profile
from ablate.config.recipe import build, read_specs
from ablate.core.hardware import processor
from ablate.planning.planner import image_shape
from ablate.planning.rows import adapted
from ablate.training.trainer import Trainer

PINNED = json.loads(Path(__file__).with_name("loss_traces.json").read_text())


@pytest.mark.parametrize("name", PINNED["losses"])
def test_seeded_losses_are_what_they_were(name, digits):
    assert torch.get_num_threads() == 1
    profile = load_profile("digits")
    recipe = build(adapted(read_specs(name), profile)).for_images(image_shape(profile))
    trainer = Trainer(recipe, profile, digits, 0)
    losses = [float(trainer.step().loss) for _ in range(10)]
    expected = [float.fromhex(text) for text in PINNED["losses"][name]]
    here = [processor(), torch.backends.cpu.get_cpu_capability(), torch.__version__]
    assert losses == (expected if here == PINNED["machine"] else pytest.approx(expected, rel=1e-4))
