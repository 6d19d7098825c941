"""Identities between families: TrigFlow is EDM's parameterization, denoising is a pairing, a bounded tangent a weight.

Every right side is written out as its paper has it, in float64 where the loss allows it.
"""

from __future__ import annotations

import pytest
import torch
from helpers.flow_maps import SD, gradient, wide
from helpers.small_networks import TwoLayers
from helpers.tiny_training import recipe as tiny
from torch.func import functional_call, jvp

import ablate
from ablate.training.denoiser import Denoiser
from ablate.training.functions import Functions
from ablate.training.loss import Draws, consistency
from ablate.training.trainer import build_network

g = torch.Generator().manual_seed(0)
x, z = torch.randn(2, 32, 1, 2, 2, generator=g, dtype=torch.float64)
u = (torch.arange(32, dtype=torch.float64) + 0.5) / 32
EDM = {"name": "script", "scale_out": True, "subtract_min": False}  # c_skip and c_out without sigma_min


class G(TwoLayers):
    """TrigFlow's network G(x_t / sd, t) in float64."""

    def forward(self, scaled, t):
        features = torch.cat([scaled.flatten(1), t[:, None]], 1)
        return self.second(self.first(features).tanh()).view_as(scaled)


class F(G):
    """The same function as a denoiser of EDM's parameterization: its network is -G, its time arctan(sigma / sd)."""

    def __call__(self, noisy, sigma, label=None, watch=None, until=None):
        root = (sigma**2 + SD**2).sqrt()
        out = -super().__call__(noisy / wide(root), torch.atan(sigma / SD))
        return wide(SD**2 / root**2) * noisy + wide(SD * sigma / root) * out


def continuous(f, pairing, k=3, **changes):
    fields = {"metric": "squared_l2", "weighting": "karras", "parameterization": EDM, **changes}
    made = ablate.apply(ablate.load_recipe("ict"), {"pairing": {"name": "continuous", **pairing}, **fields})
    return made, consistency(made, Functions(f, f, f), Draws(x, z, u), k, 80)


def test_trigflow_is_edms_parameterization():
    made = ablate.apply(ablate.load_recipe("ict"), {"noise_precond": "trig", "parameterization": EDM})
    sigma = torch.logspace(-2.5, 1.9, 32, dtype=torch.float64)
    t, c = torch.atan(sigma / SD), Denoiser(made, torch.nn.Identity()).coefficients(sigma)
    x_t = wide(t.cos()) * (x + wide(sigma) * z)
    for found, wanted in (("c_skip", t.cos() ** 2), ("c_out", SD * t.sin()), ("c_noise", t)):
        torch.testing.assert_close(c[found].double(), wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(wide(c["c_in"]).double() * (x + wide(sigma) * z), x_t / SD, rtol=1e-6, atol=0)
    f, own = F(), G()
    torch.testing.assert_close(
        f(x + wide(sigma) * z, sigma), wide(t.cos()) * x_t - SD * wide(t.sin()) * own(x_t / SD, t)
    )


def tangent(own, sigma, r):
    """g of sCM's algorithm 1 without its division, and G."""
    t = torch.atan(sigma / SD)
    cos, sin, noise = wide(t.cos()), wide(t.sin()), SD * z
    x_t, speed = cos * x + sin * noise, cos * noise - sin * x
    parameters = {name: p.detach() for name, p in own.named_parameters()}
    value, change = jvp(
        lambda a, b: functional_call(own, parameters, (a, b)), (x_t / SD, t), (speed / SD, torch.ones_like(t))
    )
    bounded = -(cos**2) * (SD * value - speed) - r * cos * sin * (x_t + SD * change)
    return bounded, own(x_t / SD, t)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("fields", "r"),
    [
        ({"tangent": "normalize"}, 1.0),
        ({"tangent": "normalize", "c": 2.0}, 1.0),
        ({"tangent": "normalize", "warmup": 0.125}, 0.3),
        ({"tangent": "clip", "warmup": 0.125}, 0.3),
        ({"tangent": "clip"}, 1.0),
    ],
    ids=str,
)
def test_a_bounded_tangent_has_the_loss_and_gradient_of_scm(fields, r):
    f, own = F(), G()
    made, terms = continuous(f, fields)
    step, value = tangent(own, made.noise.quantile(u, made.levels), r)
    norm = wide(step.flatten(1).norm(dim=1))
    bounded = step.clamp(-1, 1) if fields["tangent"] == "clip" else step / (norm + made.pairing.c)
    wanted = (value - value.detach() - bounded).square().flatten(1).sum(1).mean()
    assert terms.loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    torch.testing.assert_close(gradient(terms.loss, f), gradient(wanted, own), rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("double")
def test_the_weight_one_over_c_out_with_l2_normalizes_the_tangent():
    f = F()
    _, plain = continuous(f, {}, metric="l2", weighting="inverse_c_out")
    _, bounded = continuous(f, {"tangent": "normalize", "c": 0.0})
    torch.testing.assert_close(2 * gradient(plain.loss, f), gradient(bounded.loss, f), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("bound", ["none", "normalize"])
def test_a_warm_up_begins_with_denoising_and_ends_with_consistency(bound):
    """At step 0 the target lies from y towards x; after the warm-up nothing of it is left."""
    made, _ = continuous(F(), {"tangent": bound, "warmup": 0.1})
    sigma = made.noise.quantile(u, made.levels)

    class Seen:
        x, share = x, 0.0

        def slope(self, _):
            return z

    y = x + 3.0
    way = y - made.pairing.target(Seen(), sigma, sigma)(y)
    torch.testing.assert_close(way / way.flatten(1)[:, :1, None, None], torch.ones_like(way))
    assert (way > 0).all()
    f = F()
    late = [continuous(f, {"tangent": bound, "warmup": w}, k=60)[1].loss.item() for w in (0.0, 0.1)]
    assert late[0] == late[1]


def denoised(pairing, **changes):
    """Terms of a tiny network, perturbed, on images (16, 1, 8, 8)."""
    made = tiny("edm", pairing=pairing, **changes)
    f = Denoiser(made, build_network(made, (1, 8, 8), 0, "cpu"))
    with torch.no_grad():
        for p in f.network.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    f.network.eval()
    images, noise = torch.randn(2, 16, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    draws = Draws(images.clamp(-1, 1), noise, (torch.arange(16).double() + 0.5) / 16)
    return made, f, draws, consistency(made, Functions(f, f, f), draws, 3, 80)


def test_denoising_is_the_pairing_ect_with_no_gap_left():
    spread = {"p_mean": -1.2, "p_std": 1.2}
    denoising, _, draws, own = denoised({"name": "denoising", **spread}, metric="l2")
    close, _, _, ect = denoised({"name": "ect", "q": 1.000001, "stages": 1, **spread}, metric="l2")
    levels = [made.pairing(3, 80, draws.u) for made in (denoising, close)]
    assert torch.equal(torch.stack(levels[0]), torch.stack(levels[1]))
    bound = 0.002 * draws.z.flatten(1).norm(dim=1)
    assert ((own.distance - ect.distance).abs() <= 1.001 * bound).all()
    assert (own.distance > 10 * bound).all()


def test_denoising_is_edms_loss():
    _, f, draws, terms = denoised({"name": "denoising"}, parameterization=EDM)
    s = (-1.2 + 1.2 * torch.special.ndtri(draws.u)).exp()
    c_in, c_noise = 1 / (s**2 + SD**2).sqrt(), s.log() / 4
    noisy = draws.x + wide(s.float()) * draws.z
    out = f.network(wide(c_in.float()) * noisy, c_noise.float(), None)
    D = wide(SD**2 / (s**2 + SD**2)) * noisy + wide(s * SD / (s**2 + SD**2).sqrt()) * out
    wanted = (s**2 + SD**2) / (s * SD) ** 2 * (D - draws.x).square().flatten(1).sum(1)
    assert terms.loss.item() == pytest.approx(wanted.mean().item(), rel=1e-5)
