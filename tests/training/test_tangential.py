"""The loss in continuous time against finite differences and against its discrete counterpart."""

from __future__ import annotations

import pytest
import torch
from helpers.flow_maps import gradient
from helpers.small_networks import TwoLayers

import ablate
from ablate.networks import draw_masks
from ablate.training.denoiser import Denoiser
from ablate.training.functions import Functions
from ablate.training.loss import Draws, consistency, derivative

g = torch.Generator().manual_seed(0)
x, z = torch.randn(2, 64, 1, 2, 2, generator=g, dtype=torch.float64)
u = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
TINY = {
    "network.width": 8,
    "network.multipliers": [1, 2],
    "network.blocks": 1,
    "network.attention": [4],
    "embedding.channels": 16,
}


class Smooth(TwoLayers):
    """f(x, sigma) itself, in float64: two layers on (x c_in, ln sigma), with the boundary at sigma_min."""

    def forward(self, noisy, sigma, label=None, watch=None, until=None):
        c = (sigma**2 + 0.25) ** -0.5
        inputs = torch.cat([noisy.flatten(1) * c[:, None], sigma.log()[:, None] / 4], 1)
        F = self.second(self.first(inputs).tanh()).view_as(noisy)
        wide = (slice(None), None, None, None)
        gap = sigma - 0.002
        return (0.25 / (gap**2 + 0.25))[wide] * noisy + (0.5 * gap * c)[wide] * F


def continuous(f, **changes):
    changes = {"pairing": "continuous", "metric": "squared_l2", "weighting": "inverse_gap", **changes}
    return consistency(
        ablate.apply(ablate.load_recipe("ict"), changes), Functions(f, f, f), Draws(x, z, u), 3, 80
    )


def test_the_derivative_is_that_of_finite_differences():
    f, t, e = Smooth(), torch.logspace(-2, 1.5, 64, dtype=torch.float64), 1e-6
    up, down = (f(x + s * z + t[:, None, None, None] * z, t + s) for s in (e, -e))
    x_t = x + t[:, None, None, None] * z
    torch.testing.assert_close(
        derivative(f, x_t, t, z), ((up - down) / (2 * e)).detach(), rtol=1e-5, atol=1e-8
    )


@pytest.mark.usefixtures("double")
def test_the_discrete_gradient_converges_to_the_continuous_one_as_the_gap_shrinks():
    """CM theorem 6 with weight 1 / gap; the error is of first order in the gap."""
    f = Smooth()
    limit = gradient(continuous(f).loss.double(), f)
    t = ablate.load_recipe("ict").noise.quantile(u, ablate.load_recipe("ict").levels)

    def error(share):
        gap, wide = share * t, (slice(None), None, None, None)
        target = f(x + (t - gap)[wide] * z, t - gap).detach()
        distance = (f(x + t[wide] * z, t) - target).square().flatten(1).sum(1)
        return float((gradient((distance / gap).mean(), f) - limit).norm() / limit.norm())

    assert error(1e-4) < 1e-3
    assert error(1e-3) / error(1e-4) == pytest.approx(10, rel=0.1)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("weighting", ["uniform", "inverse_gap", "karras"])
def test_the_ladders_gradient_converges_too_up_to_the_constant_of_the_weight(weighting):
    """Of N - 1 = 51,200 intervals, with places uniform; both losses are scaled by the number of intervals."""
    f, fields = Smooth(), {"noise": "uniform", "weighting": weighting}
    many = continuous(f, pairing={"name": "continuous", "intervals": 51_200}, **fields)
    curriculum = {"name": "constant", "s1": 51_200}
    discrete = continuous(f, pairing="grid", curriculum=curriculum, **fields)
    a, b = gradient(many.loss.double(), f), gradient(discrete.loss.double(), f)
    torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3 * float(b.abs().max()))
    assert many.loss.item() == pytest.approx(discrete.loss.item(), rel=1e-2)


@pytest.mark.usefixtures("double")
def test_the_number_of_intervals_is_no_matter_with_the_inverse_gap():
    f = Smooth()
    a, b = (continuous(f, pairing={"name": "continuous", "intervals": n}) for n in (1000, 100_000))
    torch.testing.assert_close(
        gradient(a.loss.double(), f), gradient(b.loss.double(), f), rtol=1e-4, atol=1e-6
    )
    assert torch.equal(*ablate.apply(ablate.load_recipe("ict"), {"pairing": "continuous"}).pairing(3, 80, u))


@pytest.mark.parametrize("name", ["ncsnpp", "ddpmpp", "adm"])
def test_the_networks_have_derivatives_with_dropout_and_attention(name):
    """float32, in training mode: the masks of one step hold in every pass."""
    fields = TINY | {"network.dropout": 0.3, "network.head_channels": 8}
    changes = {"network": name} | {k: v for k, v in fields.items() if name == "adm" or "head" not in k}
    f = Denoiser(made := ablate.apply(ablate.load_recipe("ict"), changes), made.network((1, 8, 8)))
    with torch.no_grad():
        for p in f.network.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    draw_masks(f.network, torch.Generator().manual_seed(1))
    clean, noise = torch.randn(2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    for level in (0.1, 1.0, 20.0):
        t, e = torch.full((4,), level, dtype=torch.float64), 0.01 * level
        image = clean + level * noise
        found = derivative(f, image, t, noise)
        with torch.no_grad():
            difference = (f(image + e * noise, t + e) - f(image - e * noise, t - e)) / (2 * e)
        assert float((found - difference).norm() / found.norm()) < 2e-2  # float32 differences
    assert not any(p.grad is not None for p in f.network.parameters())
