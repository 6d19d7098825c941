"""Several processes train a cell as one does: the same draws, the same N(k), the same weights."""

from __future__ import annotations

import functools
import os
import signal
import threading

import pytest
import torch
from helpers.ranks import broken, killed, mistaken, patient, profile, trained

from ablate.core.errors import SpecError
from ablate.execution.resources import Resources
from ablate.training import distributed
from ablate.training.distributed import Ended, Failed, Ranks


@functools.cache
def two(base="ict", accumulate=1, coupling="independent"):
    return distributed.launch(trained, (base, accumulate, "cpu", coupling), 2)


@pytest.mark.parametrize("base", ["ict", pytest.param("ct", marks=pytest.mark.slow)])
def test_two_processes_equal_one_after_twenty_steps(base):
    one, both = trained(Ranks(), [], base, 1), two(base)
    assert both["N"] == one["N"]  # D6: of the steps, not of the processes
    assert torch.tensor(both["levels"]).equal(torch.tensor(one["levels"]))
    for name in ("loss", "per_image", "weights"):
        torch.testing.assert_close(torch.tensor(both[name]), torch.tensor(one[name]), atol=1e-5, rtol=1e-5)
    assert both["keys"] == one["keys"]  # D20: of the network itself, not of a wrapper
    assert not [k for k in both["keys"] if "module." in k]


def test_two_processes_generate_the_images_of_one():
    """Both have the same average, and each generates its own part of the batch."""
    one, both = trained(Ranks(), [], "ict", 1, coupling="generator"), two(coupling="generator")
    assert not torch.tensor(one["weights"]).equal(torch.tensor(two()["weights"]))
    for name in ("loss", "per_image", "weights"):
        torch.testing.assert_close(torch.tensor(both[name]), torch.tensor(one[name]), atol=1e-5, rtol=1e-5)


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


def test_what_a_rank_says_is_reported():
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
