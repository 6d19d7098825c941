"""Several processes train a cell as one does: the same draws, the same N(k), the same weights."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time

import pytest
import torch
from helpers.untrained import SMALL as NETWORK

import ablate
from ablate.config.profile import Data, Profile
from ablate.core.errors import SpecError
from ablate.data.datasets import Images
from ablate.execution.resources import Resources
from ablate.training import distributed
from ablate.training.distributed import Ended, Failed, Ranks
from ablate.training.trainer import Trainer

STEPS = 20
SMALL = {**NETWORK, "optimizer.lr": 0.001, "averaging.decay": 0.9}


def profile(**changes):
    return Profile(name="tiny", data=Data(name="digits", flip=True), batch=8, images=8 * STEPS, **changes)


def trained(ranks, stop, base, accumulate):
    """What every rank of a launch sees of a training: plain lists, as a launch brings them back."""
    torch.set_num_threads(1)
    pixels = torch.randint(0, 256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    labels = torch.zeros(40, dtype=torch.int64)
    images = Images(pixels, labels, pixels[:4], labels[:4], 1, "x")
    recipe = ablate.apply(ablate.load_recipe(base), SMALL).for_images((1, 8, 8))
    trainer = Trainer(recipe, profile(accumulate=accumulate), images, 0, "cpu", ranks)
    steps = list(trainer)
    seen = {
        "N": [s.N for s in steps],
        "loss": [float(s.loss) for s in steps],
        "per_image": [(s.terms.weight * s.terms.distance).tolist() for s in steps],
        "levels": [s.terms.sigma_teacher.tolist() for s in steps],
        "keys": sorted(trainer.network.state_dict()),
        "weights": torch.cat([p.detach().flatten() for p in trainer.network.parameters()]).tolist(),
    }
    return seen


@functools.cache
def two(base="ict", accumulate=1):
    return distributed.launch(trained, (base, accumulate), 2)


@pytest.mark.parametrize("base", ["ict", pytest.param("ct", marks=pytest.mark.slow)])
def test_two_processes_equal_one_after_twenty_steps(base):
    one, both = trained(Ranks(), [], base, 1), two(base)
    assert both["N"] == one["N"]  # D6: of the steps, not of the processes
    assert torch.tensor(both["levels"]).equal(torch.tensor(one["levels"]))
    for name in ("loss", "per_image", "weights"):
        torch.testing.assert_close(torch.tensor(both[name]), torch.tensor(one[name]), atol=1e-5, rtol=1e-5)
    assert both["keys"] == one["keys"]  # D20: of the network itself, not of a wrapper
    assert not [k for k in both["keys"] if "module." in k]


def test_ranks_draw_different_noise_for_different_images():
    """D19: had both ranks the same stream, the halves of a batch would have the same levels."""
    levels = torch.tensor(two()["levels"])
    assert not levels[:, :4].equal(levels[:, 4:])


@pytest.mark.slow
def test_parts_within_ranks_change_nothing():
    one, both = trained(Ranks(), [], "ict", 1), two(accumulate=2)
    torch.testing.assert_close(
        torch.tensor(both["weights"]), torch.tensor(one["weights"]), atol=1e-5, rtol=1e-5
    )


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


def test_what_a_rank_says_is_what_is_told():
    with pytest.raises(Failed, match=r"^profile\.batch: wrong$"):
        distributed.launch(mistaken, (), 2)


@pytest.mark.slow
def test_the_first_rank_to_fail_tells_the_reason_and_the_others_wait_for_nobody():
    with pytest.raises(Failed, match="ValueError: of rank 1"):
        distributed.launch(broken, (), 2)


@pytest.mark.slow
def test_a_killed_rank_ends_all_with_its_signal():
    with pytest.raises(Ended) as ended:
        distributed.launch(killed, (), 2)
    assert ended.value.code == 128 + signal.SIGKILL


@pytest.mark.slow
def test_sigterm_reaches_all_ranks_and_they_save():
    """The launcher tells that they were asked to stop; what they return is for who was not asked."""
    started = threading.Timer(6.0, lambda: os.kill(os.getpid(), signal.SIGTERM))
    started.start()
    with pytest.raises(Ended) as ended:
        distributed.launch(patient, (), 2)
    assert ended.value.code == 130


@pytest.mark.parametrize(
    ("ranks", "devices", "words"),
    [(3, None, "must divide batch, but got 3 times 1 and batch=8"), (2, 1, "there are 1 devices")],
)
def test_what_can_not_be_divided_is_said_before_anything_starts(ranks, devices, words):
    with pytest.raises(SpecError, match=words):
        distributed.check_ranks(profile(), ranks, devices)
    distributed.check_ranks(profile(), 2, 2)


def test_processes_times_threads_do_not_exceed_the_cores(monkeypatch):
    monkeypatch.setattr("ablate.execution.resources.cores", lambda: 8)
    monkeypatch.setattr("ablate.execution.resources.devices", lambda: ["cpu"])
    assert Resources(per_cell=2).at_once(profile()) == (4, 1)
    assert Resources(per_cell=2, workers=1).at_once(profile()) == (1, 4)
    monkeypatch.setattr(
        "ablate.execution.resources.devices", lambda: ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    )
    assert Resources(per_cell=2).at_once(profile()) == (2, 2)
    assert Resources(per_device=2).at_once(profile()) == (8, 1)
