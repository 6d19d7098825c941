"""What each process of a data-parallel training does; in a module that the processes can import by name."""

from __future__ import annotations

import os
import signal
import time

import torch

from ablate.config.profile import Data, Profile
from ablate.core.errors import SpecError
from ablate.training.trainer import Trainer
from helpers.tiny_training import images, recipe

STEPS = 20


def profile(**changes):
    return Profile(name="tiny", data=Data(name="digits", flip=True), batch=8, images=8 * STEPS, **changes)


def trained(ranks, stop, base, accumulate, device="cpu", coupling="independent"):
    """What every rank of a launch sees of a training: plain lists, as a launch brings them back."""
    torch.set_num_threads(1)
    trainer = Trainer(
        recipe(base, coupling=coupling),
        profile(accumulate=accumulate),
        images(device=device),
        0,
        device,
        ranks,
    )
    steps = list(trainer)
    seen = {
        "N": [s.N for s in steps],
        "loss": [float(s.loss) for s in steps],
        "per_image": [(s.terms.weight * s.terms.distance).tolist() for s in steps],
        "levels": [s.terms.sigma_student.tolist() for s in steps],
        "keys": sorted(trainer.network.state_dict()),
        "weights": torch.cat([p.detach().flatten() for p in trainer.network.parameters()]).tolist(),
    }
    return seen


def mistaken(ranks, stop):
    raise SpecError("profile.batch: wrong")


def broken(ranks, stop):
    if ranks.rank == 1:
        raise ValueError("of rank 1")
    ranks.any(False)  # waits for the other, which never comes


def killed(ranks, stop):
    if ranks.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.any(False)


def patient(ranks, stop):
    while not ranks.any(bool(stop)):
        time.sleep(0.02)
    return "saved"
