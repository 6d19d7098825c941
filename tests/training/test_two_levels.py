"""Steps between two noise levels: published losses, limits, exact flow maps of a Gaussian, sampling in n steps."""

from __future__ import annotations

import pytest
import torch
from helpers.flow_maps import LOW, SD, Exact, OfVelocity, Velocity, alike, made, wide
from helpers.tiny_training import recipe
from torch.func import functional_call, jvp

from ablate.training import loss
from ablate.training.denoiser import Denoiser
from ablate.training.functions import Functions
from ablate.training.loss import Draws, consistency, derivative
from ablate.training.sampling import sample
from ablate.training.trainer import build_network

g = torch.Generator().manual_seed(0)
x, z = torch.randn(2, 32, 1, 2, 2, generator=g, dtype=torch.float64)
u, v = torch.rand(2, 32, generator=g, dtype=torch.float64)
DRAWS = Draws(x, z, u, v=v)
pytestmark = pytest.mark.usefixtures("double")


def perturbed(**changes):
    """A tiny network of two levels, with every weight at work."""
    exp = recipe("meanflow", **changes)
    network = build_network(exp, (1, 8, 8), 0, "cpu").eval()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return Denoiser(exp, network)


@pytest.mark.parametrize(
    "fields",
    [{}, {"share": 0.0}, {"share": 1.0}, {"end_mean": -4.0}, {"end_mean": 0.5, "end_std": 0.3, "share": 0.5}],
    ids=str,
)
def test_mean_flow_is_the_loss_of_its_paper(fields):
    """||u - sg(v - (t - r) (v d_z u + d_t u))||^2 with the tangent (v, 0, 1), MeanFlow's algorithm 1."""
    ours, network = OfVelocity(), Velocity()
    exp = made({"name": "mean_flow", **fields})
    terms = consistency(exp, Functions(ours, ours, ours), DRAWS, 3, 80)
    s = exp.pairing.until(terms.sigma_student, u, v)
    t, r = (level / (1 + level) for level in (terms.sigma_student, s))
    z_t, way = wide(1 - t) * x + wide(t) * z, z - x
    frozen = {name: p.detach() for name, p in network.named_parameters()}
    _, change = jvp(
        lambda a, b: functional_call(network, frozen, (a, b, b - r)), (z_t, t), (way, torch.ones_like(t))
    )
    wanted = (network(z_t, t, t - r) - (way - wide(t - r) * change)).square().flatten(1).sum(1).mean()
    alike(ours, terms.loss, wanted, network)


@pytest.mark.parametrize("k", [0, 45, 50, 99])
@pytest.mark.parametrize(
    "fields", [{"share": 0.0}, {"share": 0.5}, {"share": 0.25, "end_mean": -1.0}], ids=str
)
def test_alpha_flow_is_the_loss_of_its_paper(fields, k):
    """1 / alpha ||u(z_t, r, t) - (alpha v + (1 - alpha) u(z_s, r, s))||^2 with s = alpha r + (1 - alpha) t."""
    ours, network = OfVelocity(), Velocity()
    exp = made({"name": "alpha_flow", **fields})
    terms, alpha = consistency(exp, Functions(ours, ours, ours), DRAWS, k, 100), exp.pairing.alpha(k, 100)
    end = exp.pairing.until(terms.sigma_student, u, v)
    t, r = (level / (1 + level) for level in (terms.sigma_student, end))
    z_t, way, s = wide(1 - t) * x + wide(t) * z, z - x, alpha * r + (1 - alpha) * t
    with torch.no_grad():
        target = alpha * way + (1 - alpha) * network(z_t - wide(t - s) * way, s, s - r)
    wanted = (network(z_t, t, t - r) - target).square().flatten(1).sum(1).mean() / alpha
    alike(ours, terms.loss, wanted, network)


@pytest.mark.parametrize("k", [10, 50, 99])
def test_alpha_flow_whose_steps_end_at_sigma_min_is_that_of_one_level(k):
    f = OfVelocity()
    one, two = (
        consistency(made(p, **n), Functions(f, f, f), DRAWS, k, 100)
        for p, n in (
            ({"name": "alpha_flow"}, {"network.second_level": None}),
            ({"name": "alpha_flow", "share": 0.0, "end_mean": -20.0, "end_std": 0.001}, {}),
        )
    )
    torch.testing.assert_close(one.loss, two.loss, rtol=1e-4, atol=0)
    assert torch.equal(one.weight, two.weight)


def test_mean_flow_is_denoising_where_a_step_ends_at_its_beginning():
    f, low = OfVelocity(), 0.002
    terms = consistency(made({"name": "mean_flow", "share": 1.0}, low), Functions(f, f, f), DRAWS, 3, 80)
    t = terms.sigma_student
    wanted = (f(x + wide(t) * z, t, until=t) - (x + low * z)).square().flatten(1).sum(1)
    torch.testing.assert_close(terms.distance, wanted)


def test_mean_flow_is_continuous_consistency_where_a_step_ends_at_sigma_min():
    f, low = OfVelocity(), LOW
    way = {"name": "mean_flow", "share": 0.0, "end_mean": -20.0, "end_std": 0.001}
    terms = consistency(made(way, low), Functions(f, f, f), DRAWS, 3, 80)
    t = terms.sigma_student
    change = derivative(f, x + wide(t) * z, t, z)
    gap = (1 + t) / (1 + low) * (t - low)
    torch.testing.assert_close(
        terms.distance, (wide(gap) * change).square().flatten(1).sum(1), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("low", [1e-6, 0.002, 0.05])
def test_the_target_of_mean_flow_agrees_with_finite_differences(low, share):
    """f - a (f - x - low z - (t - low) (t - s) du/dt), u = (x_t - f) / (t - low), s held; a turns sigma into time."""
    f, exp = Exact(low), made({"name": "mean_flow", "share": share}, low)
    _, t = exp.pairing(0, 9, u)
    s, h = exp.pairing.until(t, u, v), 1e-5 * t

    def mean_slope(level):
        noisy = x + wide(level) * z
        return (noisy - f(noisy, level, until=s)) / wide(level - low)

    change = (mean_slope(t + h) - mean_slope(t - h)) / wide(2 * h)
    shown = loss.Shown(exp, f, DRAWS, 0.0, s)
    y = f(x + wide(t) * z, t, until=s)
    target = exp.pairing.target(shown, torch.full_like(t, low), t)(y)
    # where s = t the quotient differs between s < t and s = t, but its factor is 0
    there = x + low * z + torch.where(wide(s < t), wide((t - low) * (t - s)) * change, 0)
    torch.testing.assert_close(target, y - wide((1 + t) / (1 + s)) * (y - there), rtol=1e-5, atol=1e-5)


def residual(exp, k=3, K=80):
    """||f - target|| over the batch for the exact f, on lines along the marginal slope dx/dsigma."""
    f, low = Exact(exp.levels.sigma_min), exp.levels.sigma_min
    _, t = exp.pairing(k, K, u)
    x_t = x * wide((SD**2 + t**2).sqrt())
    slope = f.slope(x_t, t)
    terms = consistency(exp, Functions(f, f, f), Draws(x_t - wide(t) * slope, slope, u, v=v), k, K)
    assert low <= float(t.min())
    return float(terms.distance.sum().sqrt())


@pytest.mark.parametrize("low", [1e-6, 0.002, 0.05])
@pytest.mark.parametrize(
    "fields", [{"share": 0.0}, {"share": 0.5}, {"share": 1.0}, {"end_mean": -3.0, "end_std": 2.0}], ids=str
)
@pytest.mark.parametrize("name", ["mean_flow", "shortcut"])
def test_the_exact_flow_map_has_no_loss(name, fields, low):
    exp = made({"name": name, **fields}, low)
    assert residual(exp) < 1e-7


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_exact_flow_map_has_no_loss_of_alpha_flow_in_the_limit(share):
    """Its steps are straight: halving alpha divides their error by 4."""
    errors = [
        residual(made({"name": "alpha_flow", "share": share, "clamp": clamp}, 0.002), 80)
        for clamp in (0.02, 0.01, 0.005)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("between", [[], [1.0], [30.0, 5.0, 0.1], [0.0021]], ids=str)
@pytest.mark.parametrize("low", [0.002, 0.5])
def test_sampling_with_the_exact_map_is_exact_in_any_number_of_steps(between, low):
    sigmas = [80.0, *(s for s in between if s > low)]
    noise = list(torch.randn(len(sigmas), 4, 1, 2, 2, generator=g, dtype=torch.float64))
    f = Exact(low)
    found = sample(f, noise, sigmas, low)
    ends = torch.tensor([80.0, low], dtype=torch.float64).expand(4, 2).unbind(1)
    torch.testing.assert_close(found, f.at(80.0 * noise[0], *ends))


@pytest.mark.parametrize("network", ["ncsnpp", "ddpmpp", "adm"])
@pytest.mark.parametrize("kind", ["gap", "end"])
def test_a_network_with_a_second_level_differentiates_with_it_held(network, kind):
    f = perturbed(**{"network": network, "network.second_level": kind})
    sigma = torch.tensor([0.5, 2.0, 20.0], dtype=torch.float64)
    clean, way = torch.randn(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    at = clean + wide(sigma).float() * way
    until = torch.tensor([0.1, 2.0, 0.002], dtype=torch.float64)
    here, denoised, consistent = (f(at, sigma, until=s) for s in (until, sigma, None))
    assert not torch.equal(here[0], denoised[0])
    assert torch.equal(here[1], denoised[1])
    assert torch.equal(here[2], consistent[2])
    h = 1e-2 * sigma
    above, below = (f(at + wide(d).float() * way, sigma + d, until=until) for d in (h, -h))
    change = derivative(f, at, sigma, way, None, until)
    torch.testing.assert_close(change, (above - below) / wide(2 * h).float(), rtol=2e-2, atol=2e-3)
