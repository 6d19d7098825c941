"""Trainings of a tiny network on forty random images."""

from __future__ import annotations

import torch
from safetensors.torch import save_file

import ablate
from ablate.config.profile import Data, Profile
from ablate.data.datasets import Images
from ablate.training.trainer import Trainer
from helpers.untrained import SMALL as NETWORK

PROFILE = Profile(name="tiny", data=Data(name="digits", flip=True), batch=8, images=8 * 24, log_every=4)
SMALL = {**NETWORK, "optimizer.lr": 0.001, "averaging.decay": 0.9}


def images(n=40, device="cpu"):
    """Random images (n, 1, 8, 8) of one class, on a device."""
    pixels = torch.randint(0, 256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(
        device, torch.uint8
    )
    labels = torch.zeros(n, dtype=torch.int64, device=device)
    return Images(pixels, labels, pixels[:4], labels[:4], 1, "x")


def recipe(base="ict", **changes):
    """A recipe with the tiny network, for images (1, 8, 8)."""
    return ablate.apply(ablate.load_recipe(base), {**SMALL, **changes}).for_images((1, 8, 8))


def trainer(seed=0, profile=PROFILE, base="ict", **changes):
    """A trainer before its first step."""
    return Trainer(recipe(base, **changes), profile, images(), seed)


def losses(t, n):
    """The losses of a trainer's next n steps."""
    return [t.step().loss.item() for _ in range(n)]


def weights(network):
    """All parameters as one vector."""
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def saved(folder, t):
    """The path of a trainer's weights, as a cell leaves them."""
    state = t.network.state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors")
    return str(folder / "model.safetensors")
