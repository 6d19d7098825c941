"""A derivative along a direction, which can be differentiated itself where gradients are recorded."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.tiny_training import recipe
from torch.nn import functional as F

from ablate.networks import draw_masks
from ablate.networks.derivative import along
from ablate.training.denoiser import Denoiser
from ablate.training.trainer import build_network

g = torch.Generator().manual_seed(0)
SIGMA = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_has_gradients_of_its_derivative(heads):
    x, way = torch.randn(2, 2, heads, 5, 4, generator=g, dtype=torch.float64)
    weight = torch.randn(4, 12, generator=g, dtype=torch.float64, requires_grad=True)

    def both(weight):
        return along(lambda x: F.scaled_dot_product_attention(*(x @ weight).chunk(3, -1)), [x], [way])

    assert torch.autograd.gradcheck(both, [weight])
    with torch.no_grad():
        plain = both(weight)
    torch.testing.assert_close(both(weight), plain)


def test_what_does_not_depend_on_the_direction_has_no_slope():
    x = torch.ones(3, requires_grad=True)
    value, slope = along(lambda t: 2 * x, [torch.ones(3)], [torch.ones(3)])
    assert torch.equal(value, 2 * x)
    assert torch.equal(slope, torch.zeros(3))


@pytest.mark.parametrize("kind", ["gap", "end"])
@pytest.mark.parametrize("network", ["ncsnpp", "ddpmpp", "adm"])
def test_a_networks_derivative_has_gradients_with_the_same_masks(network, kind):
    fields = {
        "name": network,
        "second_level": kind,
        "dropout": 0.3,
        "width": 8,
        "multipliers": [1, 2],
        "blocks": 1,
    }
    exp = recipe("meanflow", network=fields, **{"network.attention": [8]})
    module = build_network(exp, (1, 8, 8), 0, "cpu").train()
    draw_masks(module, torch.Generator().manual_seed(1))
    ways = [torch.randn(p.shape, generator=g) for p in module.parameters()]
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    f, x, until = Denoiser(exp, module), torch.randn(4, 1, 8, 8, generator=g), SIGMA / 3

    def slope(h=0.0):
        """After a step h of the weights."""
        moved = copy.deepcopy(module)
        with torch.no_grad():
            for p, way in zip(moved.parameters(), ways, strict=True):
                p.add_(h * way)
        g = Denoiser(exp, moved)
        return moved, along(lambda s: g(x, SIGMA, until=s), [until], [torch.ones_like(until)])[1]

    moved, found = slope()
    step, h = 0.02 * until, 1e-3
    above, below = (f(x, SIGMA, until=until + d).detach() for d in (step, -step))
    apart = found.detach() - (above - below) / (2 * step.float()[:, None, None, None])
    assert float(apart.norm() / found.detach().norm()) < 0.05
    slopes = torch.autograd.grad(found.square().sum(), [*moved.parameters()], allow_unused=True)
    total = sum(float((a * way).sum()) for a, way in zip(slopes, ways, strict=True) if a is not None)
    more, less = (float(slope(d)[1].detach().double().square().sum()) for d in (h, -h))
    length = sum(float(a.square().sum()) for a in slopes if a is not None) ** 0.5
    assert (more - less) / (2 * h) == pytest.approx(total, abs=0.1 * length)
