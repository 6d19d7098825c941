"""The linear path from images to noise: its options, identities with the other ones, and alpha-Flow's schedule."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from scipy.special import expit, logit, ndtri

import ablate
from ablate.training.denoiser import Denoiser
from ablate.training.functions import Functions
from ablate.training.loss import Draws, consistency

SMALLEST = 1e-6  # sigma_min here, so that the path begins at the image
generator = torch.Generator().manual_seed(0)
x, z = torch.randn(2, 32, 1, 2, 2, generator=generator)
u = (torch.arange(32, dtype=torch.float64) + 0.5) / 32
t = torch.linspace(0.01, 0.99, 32, dtype=torch.float64)
sigma = t / (1 - t)


def build(axis, **fields):
    return ablate.build(axis, {"name": "flow", **fields})


def wide(values):
    return values.float()[:, None, None, None]


class Velocity(torch.nn.Module):
    """u(z_t, t): two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(5, 16), torch.nn.Linear(16, 4)

    def forward(self, z_t, time, label=None):
        return self.second(self.first(torch.cat([z_t.flatten(1), time[:, None]], 1)).tanh()).view_as(z_t)


def flow(**changes):
    changes = {"levels.sigma_min": SMALLEST, "parameterization.sigma_min": SMALLEST, **changes}
    return ablate.apply(ablate.load_recipe("flow"), changes)


def test_the_linear_path_is_a_parameterization():
    """Identity I2: the network sees z_t and t, and f = z_t - t F leads from z_t to the image."""
    torch.testing.assert_close(build("noise_precond")(sigma), t)
    torch.testing.assert_close(build("input_precond")(sigma), 1 - t)
    c_skip, c_out = build("parameterization", sigma_min=SMALLEST)(sigma)
    torch.testing.assert_close((c_skip, c_out), (1 - t, -t), rtol=1e-4, atol=1e-6)
    velocity = Velocity()
    z_t = (1 - wide(t)) * x + wide(t) * z
    f = Denoiser(flow(), velocity)(x + wide(sigma) * z, sigma)
    torch.testing.assert_close(f, z_t - wide(t) * velocity(z_t, t.float()), rtol=1e-4, atol=1e-4)


def test_a_perfect_velocity_gives_the_image():
    answer = type("Exact", (torch.nn.Module,), {"forward": lambda self, z_t, time, label=None: z - x})()
    f = Denoiser(flow(), answer)(x + wide(sigma) * z, sigma)
    torch.testing.assert_close(f, x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sigma_min", [1e-6, 0.002, 0.5])
def test_the_boundary_is_the_identity(sigma_min):
    c_skip, c_out = build("parameterization", sigma_min=sigma_min)(
        torch.tensor([sigma_min], dtype=torch.float64)
    )
    assert (float(c_skip), float(c_out)) == (1, 0)


@pytest.mark.parametrize(("mean", "std"), [(-0.4, 1.0), (-2.0, 2.0), (0.5, 0.3)])
def test_lognormal_noise_levels_are_logit_normal_times(mean, std):
    """Identity I2, second half: no option `logit_normal` is needed."""
    lognormal = ablate.build("noise", {"name": "lognormal", "p_mean": mean, "p_std": std})
    levels = ablate.build("levels", {"name": "karras", "sigma_min": 1e-6, "sigma_max": 9e5})
    level = lognormal.quantile(u, levels)
    wanted = expit(mean + std * ndtri(u.numpy()))
    torch.testing.assert_close(level / (1 + level), torch.from_numpy(wanted), rtol=1e-6, atol=0)
    assert logit(wanted).mean() == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize(("k", "alpha"), [(0, 1.0), (45, None), (50, 0.5), (99, 0.005)])
def test_alpha_flow_at_r_0_is_consistency_training(k, alpha):
    """Identity I4: 1/alpha ||u - (alpha v + (1 - alpha) u_lo)||^2 on velocities; alpha = 1 is flow matching (I3)."""
    recipe, network = flow(), Velocity()
    alpha = alpha or recipe.pairing.alpha(k, 100)
    f = Denoiser(recipe, network)
    ours = consistency(recipe, Functions(f, f, f), Draws(x, z, u), k, 100).loss
    level = recipe.noise.quantile(u, recipe.levels)
    time = level / (1 + level)
    v, z_t = z - x, (1 - wide(time)) * x + wide(time) * z
    below = (1 - alpha) * time
    with torch.no_grad():
        there = network(z_t - wide(time - below) * v, below.float())
    target = alpha * v + (1 - alpha) * there
    wanted = ((network(z_t, time.float()) - target).square().flatten(1).sum(1) / alpha).mean()
    parameters = list(network.parameters())
    got, want = (
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]) for loss in (ours, wanted)
    )
    torch.testing.assert_close(ours, wanted, rtol=2e-3, atol=0)
    assert float((got - want).norm() / want.norm()) < 2e-2


@pytest.mark.parametrize("noise", ["lognormal", "uniform", "student_t"])
@pytest.mark.parametrize("k", [0, 50, 99])
def test_pairs_are_a_share_of_the_time_apart(noise, k):
    recipe = ablate.apply(ablate.load_recipe("flow"), {"noise": noise})
    lo, hi = recipe.pairing(k, 100, u)
    alpha = recipe.pairing.alpha(k, 100)
    wanted = (1 - alpha) * hi / (1 + hi)
    torch.testing.assert_close(lo, (wanted / (1 - wanted)).clamp(min=0.002))
    torch.testing.assert_close(hi, recipe.noise.quantile(u, recipe.levels).clamp(min=0.002 * 1.001))
    assert (lo < hi).all()
    weight = recipe.weighting(lo, hi)
    t_hi, t_lo = hi / (1 + hi), lo / (1 + lo)
    torch.testing.assert_close(weight, 1 / (t_hi * (t_hi - t_lo)))


def schedule(**fields):
    pairing = ablate.build("pairing", {"name": "alpha_flow", **fields})
    return [pairing.alpha(k, 1000) for k in range(1000)]


def test_alpha_falls_by_a_sigmoid_from_1_to_the_clamp():
    alpha = schedule()
    assert all(a >= b for a, b in itertools.pairwise(alpha))
    assert alpha[0] == 1
    assert alpha[500] == 0.5
    assert alpha[-1] == 0.005
    assert alpha[550] == pytest.approx(expit(-25 * 0.05))
    assert [a for a in alpha if 0.995 < a < 1] == []


@pytest.mark.parametrize(
    ("fields", "middle", "ends"),
    [
        ({"start": 0.5, "end": 1.0}, 750, (1.0, 0.005)),
        ({"end": 0.4}, 200, (1.0, 0.005)),
        ({"temperature": 0.0}, 123, (0.5, 0.5)),
        ({"temperature": 1000.0, "clamp": 0.1}, 500, (1.0, 0.1)),
    ],
)
def test_the_fields_of_the_schedule(fields, middle, ends):
    alpha = schedule(**fields)
    assert (alpha[0], alpha[-1]) == ends
    assert alpha[middle] == 0.5


@pytest.mark.parametrize(
    "fields", [{"start": 0.5, "end": 0.5}, {"start": 0.9, "end": 0.1}, {"start": 0.3, "end": 0.2}]
)
def test_a_schedule_that_ends_before_it_starts_is_refused(fields):
    with pytest.raises(ablate.SpecError, match=rf"start < end must hold, but got start={fields['start']}"):
        ablate.build("pairing", {"name": "alpha_flow", **fields})


def test_a_noise_without_a_limit_is_refused():
    bare = dataclasses.make_dataclass("Bare", [], namespace={"axis": "noise", "name": "bare"})
    with pytest.raises(ablate.SpecError, match=r"alpha_flow needs `quantile`, which noise\.bare lacks"):
        type(ablate.build("pairing", "alpha_flow"))(noise=bare())


def test_a_bounded_tangent_points_downhill_on_the_flow_too():
    """c_out is negative there: the gradient by F must still follow that of the unbounded derivative."""
    network = Velocity()

    def gradient(**changes):
        recipe = flow(**changes, **{"weighting": "uniform"})
        f = Denoiser(recipe, network)
        loss = consistency(recipe, Functions(f, f, f), Draws(x, z, u), 3, 80).loss
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()))])

    free, bounded = (
        gradient(pairing={"name": "continuous", "tangent": how}) for how in ("none", "normalize")
    )
    assert float(torch.cosine_similarity(free, bounded, dim=0)) > 0.2


@pytest.mark.parametrize(
    ("p", "metric", "factor"),
    [(0.0, "squared_l2", 1.0), (0.5, "pseudo_huber", 0.5), (1.0, "cauchy", 0.05**2 / 2)],
)
def test_the_adaptive_weight_of_mean_flow_is_a_metric(p, metric, factor):
    """Identity I6: n^2 / sg(n^2 + c^2)^p has the gradient of the metric, up to a constant."""
    y = x.clone().requires_grad_()
    spec = {"name": metric} | ({} if p == 0 else {"c": 0.05})
    (mine,) = torch.autograd.grad(ablate.build("metric", spec)(y, z).sum(), y)
    n2 = (y - z).square().flatten(1).sum(1)
    (theirs,) = torch.autograd.grad((n2 / (n2.detach() + 0.05**2) ** p).sum(), y)
    torch.testing.assert_close(mine, factor * theirs)


@pytest.mark.parametrize("p", [0.0, 0.5, 0.75, 1.0, 1.5])
@pytest.mark.parametrize("t", [0.1, 1.0, 60.0])
def test_metric_and_weighting_of_one_power_are_the_adaptive_weight_of_a_velocity(p, t):
    """The velocity's error is (1 + sigma) / sigma times the image's, and c with it; 1 / alpha is a factor."""
    low, high = torch.full((len(x),), 0.2 * t, dtype=x.dtype), torch.full((len(x),), t, dtype=x.dtype)
    scale = (1 + t) / t
    alpha = 1 - low / (1 + low) * scale
    weight = ablate.build("weighting", {"name": "flow", "p": p})(low, high)
    mine = weight * ablate.build("metric", {"name": "adaptive", "p": p, "c": 0.3})(x, z)
    of_velocity = ablate.build("metric", {"name": "adaptive", "p": p, "c": 0.3 * scale})
    torch.testing.assert_close(mine, of_velocity(scale * x, scale * z) / alpha)
