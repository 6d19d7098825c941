"""A step launches few operations on its device, and reductions of them change no result; counted, not timed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from helpers.tiny_training import PROFILE, trainer
from torch import nn

from ablate.networks import Dropout, draw_masks, dropout
from ablate.networks.dropout import Dropped
from ablate.networks.flat import Flat

FILE = Path(__file__).parents[2] / "benchmarks" / "support" / "launches.py"
MOST = 625  # 616 when this was written, 829 before masks and gradients were single operations


@pytest.fixture(scope="module")
def launches():
    spec = importlib.util.spec_from_file_location("launches_of_benchmarks", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_step_of_ict_on_digits_stays_below_a_number_of_launches(launches):
    counts = launches.counted("digits")
    assert sum(n for stage, (n, _) in counts.items() if stage != "logging") <= MOST
    assert counts["masks"] == counts["averages"] == [1, 0]


@pytest.mark.parametrize("fields", [{}, {"teacher": "adaptive", "dropout_sharing": "separate"}])
def test_masks_and_gradients_are_single_operations_whatever_the_depth(fields, launches):
    found = []
    for blocks in (1, 2):
        with launches.on_meta():
            t = trainer(**fields, **{"network.dropout": 0.3, "network.blocks": blocks})
            t = type(t)(t.recipe, PROFILE, launches.blank((1, 8, 8), 40), 0, "meta")
            counted = launches.of_a_step(t)
        found.append([counted.of(stage) for stage in ("masks", "optimizer", "averages", "loss")])
    assert found[0] == found[1]
    assert found[0][0] == 1 + (fields.get("dropout_sharing") == "separate")


def test_views_allocations_and_the_host_launch_nothing(launches):
    x = torch.ones(4, 4)
    with launches.Launches("cpu") as counted:
        x.view(16).unsqueeze(0), x.t(), torch.empty(3), x.split(2)
    assert counted.of() == 0
    with launches.Launches("cpu") as counted:
        x @ x, x + x, torch.zeros(3)
    assert (counted.of(), counted.of(kind="product")) == (3, 1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gathered_gradients_are_those_of_each_parameter_in_the_order_of_the_vector(layout):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2), nn.Linear(2, 1))
    network = network.to(memory_format=layout)
    flat, x = Flat([*network.parameters()], gradients=True), torch.randn(5, 3, 4, 4)
    apart = torch.autograd.grad(network[:3](x).sum(), [*network[:3].parameters()])
    for _ in range(2):  # a second one is added
        network[:3](x).sum().backward()
        flat.gather_gradients()
    start = 0
    for p, g in zip(network.parameters(), [*apart, None, None], strict=True):
        seen = flat.vector.grad.as_strided(p.shape, p.stride(), start)
        assert p.grad is None
        assert torch.equal(seen, torch.zeros_like(p) if g is None else 2 * g)
        start += p.numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropping_in_one_operation_is_the_product_and_so_are_its_derivatives(dtype):
    x, mask = torch.randn(4, 3, 5, 5, dtype=dtype, requires_grad=True), torch.rand(4, 3, 5, 5) > 0.3
    g, scale = torch.randn(4, 3, 5, 5, dtype=dtype), 1 / 0.7
    outs = [Dropped.apply(x, mask, scale), x * mask * scale]
    slopes = [torch.autograd.grad(out, x, g)[0] for out in outs]
    assert torch.equal(*outs)
    assert torch.equal(*slopes)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x.detach(), g)
        tangent = torch.autograd.forward_ad.unpack_dual(Dropped.apply(dual, mask, scale)).tangent
    assert torch.equal(tangent, g * mask * scale)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_masks_drawn_together_keep_rates_and_the_rows_of_a_part(parts):
    """As on a GPU, with the CPU's numbers."""
    network = nn.Sequential(Dropout(0.5), Dropout(0.2), Dropout(0.5))
    last = torch.channels_last

    def drawn(count, seed=1):
        found = []
        for i in range(count):
            shapes = [(8 // count, 16, 5, 5), (8 // count, 4, 3, 3), (8 // count, 16, 5, 5)]
            known = [
                (d, torch.empty(shape, dtype=torch.bool).contiguous(memory_format=last))
                for d, shape in zip(network, shapes, strict=True)
            ]
            for d in network:
                d.micro_batch = (i, count)
            dropout._draw_together(known, seed)
            found.append([d.mask for d in network])
        return [torch.cat(masks) for masks in zip(*found, strict=True)]

    whole, rows, other = drawn(1), drawn(parts), drawn(1, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(whole, rows, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(whole, other, strict=True))
    assert not torch.equal(whole[0], whole[2])
    assert [m.float().mean().item() for m in whole] == pytest.approx([0.5, 0.8, 0.5], abs=0.05)
    assert whole[0].is_contiguous(memory_format=last)


def test_masks_of_a_device_are_known_before_its_first_step(launches):
    with launches.on_meta():
        t = trainer(**{"network.dropout": 0.3})
        t = type(t)(t.recipe, PROFILE, launches.blank((1, 8, 8), 40), 0, "meta")
    masks = [m.mask for m in t.network.modules() if isinstance(m, Dropout)]
    assert {len(mask) for mask in masks} == {PROFILE.batch}


def test_a_network_without_dropout_draws_nothing():
    network = nn.Sequential(nn.Linear(2, 2), Dropout(0.0))
    draw_masks(network, torch.Generator().manual_seed(1))
    assert network[1].mask is None
