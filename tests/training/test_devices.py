"""No step makes the host wait for a GPU or mixes devices, whatever the recipe; shown without a GPU."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DModel  # noqa: F401  it reads annotations of torch.Generator when it is imported
from helpers import devices
from helpers.tiny_training import PROFILE

import ablate
from ablate.config.profile import Data
from ablate.core.registry import AXES, dependencies
from ablate.ingredients import embedding, pairing
from ablate.training import batches
from ablate.training.sampling import generate
from ablate.training.trainer import Trainer

LABELS = Data(name="digits", flip=True, labels=True, label_dropout=0.1)
PROFILE = PROFILE.model_copy(update={"data": LABELS, "batch": 4})
PARTS = PROFILE.model_copy(update={"accumulate": 2})
SIZE = {"width": 8, "multipliers": [1], "blocks": 1, "attention": []}
BLOCKS = {"block_out_channels": [32, 32], "norm_num_groups": 8, "layers_per_block": 1}
SIZES = {"unet2d": BLOCKS | {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}}
# they read files, or need a library that is not installed; each acts before the first step or is an Adam
LEFT_OUT = {
    "metric": {"lpips"},
    "network": {"module"},
    "init_from": {"file", "run", "recipe"},
    "direction": {"network"},
    "teacher": {"frozen_below"},
    "optimizer": {"adamw_8bit"},
}
# a GPU waits in every step, for scipy; fp16's scaler, which reads whether a gradient overflowed, is not on `meta`
WAITS = [
    {"coupling": "minibatch_ot"},
    *(
        {"noise": "student_t", "pairing": name}
        for name in ("alpha_flow", "continuous", "lagrangian", "mean_flow", "shortcut")
    ),
]
ONLY_CUDA = [{"optimizer": "adam"}, {"optimizer": "adamw"}, {"precision": "bf16"}, {"precision": "fp16"}]


def changes():
    """Every option of every axis, and every pair of those that call each other."""
    for axis in AXES.values():
        for name in axis.options:
            if name not in LEFT_OUT.get(axis.name, ()):
                yield {axis.name: name}
    quantiles = [n for n, o in AXES["pairing"].options.items() if "noise" in dependencies(o) and n != "grid"]
    for drawn in AXES["noise"].options:
        yield from ({"noise": drawn, "pairing": name} for name in quantiles)
    for sharing in AXES["dropout_sharing"].options:
        yield {"dropout_sharing": sharing, "teacher": "adaptive"}


STEPS = [
    pytest.param(chosen, id=",".join(f"{axis}={name}" for axis, name in chosen.items()))
    for chosen in changes()
    if chosen not in WAITS
]


def forget():
    """Empty what is kept for later steps."""
    pairing.ladder.cache_clear()
    batches._order.cache_clear()
    embedding.kept_frequencies.clear()


def tiny(device, chosen, profile=PROFILE):
    """A trainer; what is computed once for a device or an N counts as part of its first step."""
    forget()
    network = chosen.get("network", "ncsnpp")
    specs = {"network": {"name": network, **SIZES.get(network, SIZE), "dropout": 0.3}} | {
        axis: {"name": name} for axis, name in chosen.items() if axis != "network"
    }
    if chosen.get("pairing") in ("lagrangian", "mean_flow", "shortcut"):
        specs["network"]["second_level"] = "gap"
    recipe = ablate.apply(ablate.load_recipe("ict"), specs).for_images((1, 8, 8))
    return Trainer(recipe, profile, devices.images(device), 0, device)


@pytest.fixture(autouse=True)
def nothing_kept():
    """No tensor of a device that does not exist stays in a cache."""
    yield
    forget()


@pytest.mark.parametrize("chosen", [p for p in STEPS if p.values[0] not in ONLY_CUDA])
def test_a_whole_step_waits_for_nothing(chosen):
    with devices.absent("meta"):
        t = tiny("meta", chosen)
        with devices.Waits() as seen:
            t.step()
    assert seen.found == []


def test_a_step_in_parts_waits_for_nothing():
    with devices.absent("meta"):
        t = tiny("meta", {"teacher": "adaptive", "dropout_sharing": "separate"}, PARTS)
        with devices.Waits() as seen:
            for _ in range(2):
                t.step()
    assert seen.found == []


LADDER = {
    "levels",
    "curriculum",
    "noise",
    "pairing",
}  # its checks read numbers, which fake tensors do not have


MODULES = {"learned", "doubled_prior"}  # a module of fake tensors cannot be moved


@pytest.mark.parametrize(
    "chosen",
    [
        p if p.values[0] in ONLY_CUDA else pytest.param(*p.values, id=p.id, marks=pytest.mark.slow)
        for p in STEPS
        if not LADDER & p.values[0].keys() and p.values[0].get("weighting") not in MODULES
    ],
)
def test_on_cuda_all_of_a_step_but_its_backward_pass_has_one_device(chosen):
    with devices.absent("cuda"):
        t = tiny("cuda", {"pairing": "ect", **chosen})
        t.shares = (
            True  # no new masks between the passes: their seeds are numbers, which fake tensors do not have
        )
        with devices.Waits() as seen:
            draws = t.draws(0)
            assert t._terms(draws)[0].loss.device.type == "cuda"
            t._clip()
            t.optimizer.step()
            t._update_averages(t.recipe.curriculum(0, t.K))
    assert seen.found == []


@pytest.mark.parametrize("chosen", WAITS)
def test_what_waits_is_known(chosen):
    """Were one of them to wait no longer, it would belong to the others."""
    with devices.absent("meta"), devices.Waits() as seen:
        t = tiny("meta", chosen)
        with pytest.raises((NotImplementedError, RuntimeError)):
            t.step()
    assert any("between" in found for found in seen.found)


@pytest.mark.parametrize(
    "axis", ["sampling_precond", "precision", pytest.param("network", marks=pytest.mark.slow)]
)
def test_sampling_has_one_device(axis):
    for name in AXES[axis].options:
        if name not in LEFT_OUT.get(axis, ()):
            with devices.absent("cuda"):
                t = tiny("cuda", {axis: name})
                x = generate(t.average, (1, 8, 8), 5, [80.0, 0.8], 0.002, batch=2, device="cuda")
                assert (x.device.type, x.shape) == ("cuda", (5, 1, 8, 8))


@pytest.mark.parametrize(
    "fault",
    [
        lambda x: x.cpu(),
        lambda x: x + torch.ones(3),
        lambda x: torch.ones(3).to(x.device),
        lambda x: torch.tensor([1.0], device=x.device),
    ],
)
def test_the_watch_sees_each_kind_of_wait(fault):
    with devices.absent("cuda"):
        x = torch.ones(3, device="cuda")
        with devices.Waits() as seen:
            refused = False
            try:
                fault(x)
            except RuntimeError:  # torch's own, of two devices
                refused = True
    assert refused or seen.found
