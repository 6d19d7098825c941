"""Options that read files or load a module keep to the device too: shown on one that does not exist."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from helpers import devices
from helpers.tiny_training import PROFILE, SMALL, saved, trainer
from torch import nn

import ablate
from ablate.ingredients import embedding, lpips
from ablate.training.trainer import Trainer

WIDTHS = (64, 128, 256, 512, 512)
COUNTS = (2, 2, 3, 3, 3)
TINY = {**SMALL, "network.multipliers": [1]}


class Own(nn.Module):
    """A user's network."""

    def __init__(self, shape, classes, embedding, width=4):
        super().__init__()
        self.inner, self.outer = nn.Conv2d(shape[0], width, 1), nn.Conv2d(width, shape[0], 1)

    def forward(self, x, c_noise, label=None):
        return self.outer(self.inner(x))


def blank_weights(name):
    """LPIPS's two files without numbers, on `meta`."""
    if name != next(iter(lpips.FILES)):
        return {
            f"lin{i}.model.1.weight": torch.zeros(1, w, 1, 1, device="meta") for i, w in enumerate(WIDTHS)
        }
    found, inputs, place = {}, 3, 0
    for width, count in zip(WIDTHS, COUNTS, strict=True):
        for _ in range(count):
            found[f"features.{place}.weight"] = torch.zeros(width, inputs, 3, 3, device="meta")
            found[f"features.{place}.bias"] = torch.zeros(width, device="meta")
            inputs, place = width, place + 2
        place += 1
    return found


@pytest.fixture
def chosen(request, tmp_path, monkeypatch):
    """The changes of a case, whose files lie in a folder."""
    users_file = types.ModuleType("users_file")
    users_file.Own = Own
    monkeypatch.setitem(sys.modules, "users_file", users_file)
    monkeypatch.setattr(lpips, "_weights", blank_weights)
    embedding.kept_frequencies.clear()
    lpips._built.cache_clear()
    file = saved(tmp_path, trainer(**TINY))
    yield {
        "lpips": {"metric": {"name": "lpips", "size": 32}, **TINY},
        "module": {"network": {"name": "module", "path": "users_file:Own"}},
        "file": {"init_from": {"name": "file", "path": file}, **TINY},
        "file, teacher": {"init_from": {"name": "file", "path": file}, "teacher": "adaptive", **TINY},
    }[request.param]
    embedding.kept_frequencies.clear()
    lpips._built.cache_clear()


@pytest.mark.parametrize("chosen", ["lpips", "module", "file", "file, teacher"], indirect=True)
def test_a_later_step_waits_for_nothing(chosen):
    """What is read is copied to the device before the first step is over."""
    made = ablate.apply(ablate.load_recipe("ict"), chosen).for_images((1, 8, 8))
    with devices.absent("meta"):
        t = Trainer(made, PROFILE, devices.images("meta", classes=1), 0, "meta")
        t.step()
        with devices.Waits() as seen:
            t.step()
    assert seen.found == []
