"""Networks and exact functions of two levels in float64, and recipes whose losses papers state."""

from __future__ import annotations

import torch

import ablate
from helpers.small_networks import TwoLayers

LOW = 1e-6  # sigma_min where a paper's path begins at the image
SD = 0.5


def wide(values):
    """values (B,) as (B, 1, 1, 1)."""
    return values[:, None, None, None]


class Velocity(TwoLayers):
    """u(z_t, t, t - r) of the linear path in float64."""

    def __init__(self):
        super().__init__(6)

    def forward(self, z_t, t, gap):
        features = torch.cat([z_t.flatten(1), t[:, None], gap[:, None]], 1)
        return self.second(self.first(features).tanh()).view_as(z_t)


class OfVelocity(Velocity):
    """The same function of noise levels, as f of the parameterization `flow`: f = z_t - t u."""

    def __call__(self, noisy, sigma, label=None, watch=None, until=None):
        until = torch.full_like(sigma, LOW) if until is None else until
        t, r = sigma / (1 + sigma), until / (1 + until)
        z_t = noisy / wide(1 + sigma)
        return z_t - wide(t) * super().__call__(z_t, t, t - r)


class Exact:
    """f of images from Normal(0, SD^2), whose flow map is known: x_s = x_t sqrt((SD^2 + s^2) / (SD^2 + t^2))."""

    two_levels = True

    def __init__(self, low=0.002):
        self.low = low

    def at(self, x_t, t, s):
        return x_t * wide(((SD**2 + s**2) / (SD**2 + t**2)).sqrt())

    def slope(self, x_t, t):
        return x_t * wide(t / (SD**2 + t**2))

    def __call__(self, x_t, sigma, label=None, watch=None, until=None):
        s = torch.full_like(sigma, self.low) if until is None else until
        same = wide((sigma - s).abs() < 1e-9 * sigma)  # where the quotient has lost its digits
        gap = torch.where(same, torch.ones_like(wide(sigma)), wide(sigma - s))
        mean = (x_t - self.at(x_t, sigma, s)) / gap
        return x_t - wide(sigma - self.low) * torch.where(same, self.slope(x_t, sigma), mean)


def made(pairing, low=LOW, **changes):
    """`meanflow` with a pairing and the weighted squared error of velocities."""
    small = {
        "levels.sigma_min": low,
        "parameterization.sigma_min": low,
        "metric": "squared_l2",
        "weighting": "flow",
    }
    return ablate.apply(ablate.load_recipe("meanflow"), {"pairing": pairing, **small, **changes})


def gradient(value, f):
    """The gradient of a value by all parameters, as one vector."""
    return torch.cat([p.flatten() for p in torch.autograd.grad(value, [*f.parameters()])])


def alike(f, ours, wanted, reference):
    """Require equal losses with equal gradients of two modules."""
    torch.testing.assert_close(ours.double(), wanted, rtol=1e-4, atol=0)
    got, want = gradient(ours, f), gradient(wanted, reference)
    assert float((got - want).norm() / want.norm()) < 1e-3
