"""Self-distillation, Lagrangian and progressive: published losses, exact flow maps, gradients, and whole trainings."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers.flow_maps import SD, Exact, OfVelocity, Velocity, alike, made, wide
from helpers.tiny_training import PROFILE, losses, trainer
from torch.func import jvp

from ablate.training import loss
from ablate.training.functions import Functions
from ablate.training.loss import Draws, Shown, consistency

LSD, PSD_U = {"name": "lagrangian"}, {"name": "shortcut", "split": "uniform"}
SQUARED = {"metric": "squared_l2", "weighting": "flow"}
g = torch.Generator().manual_seed(3)
x, z = torch.randn(2, 32, 1, 2, 2, generator=g, dtype=torch.float64)
u, v, w = torch.rand(3, 32, generator=g, dtype=torch.float64)
DRAWS = Draws(x, z, u, v=v)
ENDS = [
    {"share": 0.0, "end_mean": 0.5, "end_std": 0.3},
    {"share": 0.0, "end_mean": None},
    {"share": 0.75, "end_mean": -1.0},
    {"share": 1.0},
]


def times(exp, draws=DRAWS):
    """Levels t and s, their times on the linear path, and z_t with its velocity."""
    _, t = exp.pairing(3, 80, draws.u)
    s = exp.pairing.until(t, draws.u, draws.v)
    late, early = t / (1 + t), s / (1 + s)
    return t, s, late, early, wide(1 - late) * x + wide(late) * z, z - x


@pytest.mark.parametrize("fields", ENDS, ids=str)
def test_lagrangian_is_the_loss_of_its_paper(fields, double):
    """||d_s X - sg(v(X, s, s))||^2 with X = z_t - (t - s) u(z_t, t, s), and flow matching where s = t."""
    ours, network = OfVelocity(), Velocity()
    exp = made({**LSD, **fields})
    terms = consistency(exp, Functions(ours, ours, ours), DRAWS, 3, 80)
    t, s, late, early, z_t, way = times(exp)

    def reached(r):
        return z_t - wide(late - r) * network(z_t, late, late - r)

    end, slope = jvp(reached, (early,), (torch.ones_like(early),))
    velocity = network(end.detach(), early, torch.zeros_like(early)).detach()
    apart = torch.where(wide(s == t), network(z_t, late, 0 * late) - way, slope - velocity)
    alike(ours, terms.loss, apart.square().flatten(1).sum(1).mean(), network)


@pytest.mark.parametrize("fields", ENDS, ids=str)
@pytest.mark.parametrize("split", ["middle", "uniform"])
def test_a_shortcut_is_the_loss_of_its_paper(split, fields, double):
    """||u(z_t, t, s) - sg(share u(z_t, t, m) + (1 - share) u(X, m, s))||^2, m a share of the way from t to s."""
    ours, network = OfVelocity(), Velocity()
    exp = made({"name": "shortcut", "split": split, **fields})
    draws = Draws(x, z, u, v=v, w=w if split == "uniform" else None)
    terms = consistency(exp, Functions(ours, ours, ours), draws, 3, 80)
    t, s, late, early, z_t, way = times(exp)
    share = w if split == "uniform" else torch.full_like(w, 0.5)
    middle = late - share * (late - early)
    with torch.no_grad():
        first = network(z_t, late, late - middle)
        second = network(z_t - wide(late - middle) * first, middle, middle - early)
        target = torch.where(wide(s == t), way, torch.lerp(second, first, wide(share)))
    wanted = (network(z_t, late, late - early) - target).square().flatten(1).sum(1).mean()
    alike(ours, terms.loss, wanted, network)


@pytest.mark.parametrize("fields", ENDS[:3], ids=str)
@pytest.mark.parametrize("low", [1e-6, 0.002, 0.05])
def test_the_lagrangian_residual_is_that_of_images(low, fields):
    """f - c df/ds - f(X, s, s) times the ratio of (1 + s) / (s - low) to (1 + t) / (t - low); f - line where s = t."""
    f, exp = OfVelocity().requires_grad_(False), made({**LSD, **fields}, low)
    t, s, *_ = times(exp)
    x_t, h = x + wide(t) * z, 1e-5 * s
    image = f(x_t, t, until=s)
    slope = (f(x_t, t, until=s + h) - f(x_t, t, until=s - h)) / wide(2 * h)
    part, c = (s - low) / (t - low), (s - low) * (t - s) / (t - low)
    end = wide(part) * x_t + wide(1 - part) * image
    scale = wide((1 + s) * (t - low) / ((s - low) * (1 + t)))
    wanted = scale * (image - wide(c) * slope - f(end, s, until=s))
    wanted = torch.where(wide(s == t), image - (x + low * z), wanted)
    y = exp.pairing.estimate(lambda end: f(x_t, t, until=end), t, s)
    shown = Shown(exp, f, DRAWS, 0.0, s)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "noisy", lambda x, s, z, _: x + wide(s) * z)
        target = exp.pairing.target(shown, torch.full_like(t, low), t)(y)
    torch.testing.assert_close(y - target, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("low", [1e-6, 0.002, 0.05])
@pytest.mark.parametrize("fields", [*ENDS, {"share": 0.5, "end_mean": -7.0}], ids=str)
@pytest.mark.parametrize("pairing", [LSD, PSD_U], ids=str)
def test_the_exact_flow_map_has_no_loss(pairing, fields, low, double):
    f, exp = Exact(low), made({**pairing, **fields}, low)
    t, *_ = times(exp)
    x_t = x * wide((SD**2 + t**2).sqrt())
    slope = f.slope(x_t, t)
    draws = Draws(x_t - wide(t) * slope, slope, u, v=v, w=w)
    assert float(consistency(exp, Functions(f, f, f), draws, 3, 80).distance.sum().sqrt()) < 1e-6


@pytest.mark.parametrize("metric", ["squared_l2", "cauchy", "pseudo_huber"])
def test_the_gradient_agrees_with_finite_differences(metric, double):
    """Through f and df/ds, and not through the target."""
    f, teacher = OfVelocity(), OfVelocity()
    small = {"metric": metric, "network.multipliers": [1]}
    exp = made({**LSD, "share": 0.25, "end_mean": -1.0}, **small).for_images((1, 2, 2))
    ways = [torch.randn(p.shape, generator=g, dtype=torch.float64) for p in f.parameters()]
    found = torch.autograd.grad(
        consistency(exp, Functions(f, teacher, f), DRAWS, 3, 80).loss, [*f.parameters()]
    )
    along = sum(float((a * b).sum()) for a, b in zip(found, ways, strict=True))

    def moved(h):
        other = copy.deepcopy(f)
        with torch.no_grad():
            for p, way in zip(other.parameters(), ways, strict=True):
                p.add_(h * way)
        return float(consistency(exp, Functions(other, teacher, other), DRAWS, 3, 80).loss.detach())

    assert (moved(1e-5) - moved(-1e-5)) / 2e-5 == pytest.approx(along, rel=1e-5)


def perturbed(pairing, **more):
    """A trainer with every weight at work, attention and dropout."""
    sizes = {"network.multipliers": [1], "network.attention": [8], "network.dropout": 0.2}
    t = trainer(base="meanflow", pairing=pairing, **SQUARED, **sizes, **more)
    with torch.no_grad():
        for p in t.network.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return t


@pytest.mark.parametrize("pairing", [LSD, PSD_U], ids=str)
@pytest.mark.parametrize("sharing", ["shared", "separate"])
def test_parts_of_a_batch_and_a_resumed_run_are_the_whole(pairing, sharing):
    whole, parts = (
        perturbed(pairing, dropout_sharing=sharing, profile=PROFILE.model_copy(update={"accumulate": n}))
        for n in (1, 2)
    )
    first, again = whole.step(), parts.step()
    torch.testing.assert_close(first.terms.distance, again.terms.distance, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(first.terms.gradient, again.terms.gradient, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(whole.weights.grad, parts.weights.grad, rtol=1e-3, atol=1e-2)
    state = copy.deepcopy(whole.state_dict())
    after = losses(whole, 1)
    parts.load_state_dict(state)
    parts.profile = whole.profile
    assert losses(parts, 1) == after


@pytest.mark.parametrize(("teacher", "precision"), [("none", "bf16"), ("fixed", "fp32")])
def test_a_training_moves_every_weight(teacher, precision):
    t = perturbed(LSD, teacher=teacher, precision=precision)
    before = {name: p.detach().clone() for name, p in t.network.named_parameters()}
    assert all(value == value and value < 1e4 for value in losses(t, 2))
    assert not [name for name, p in t.network.named_parameters() if torch.equal(p, before[name])]


def test_an_end_at_sigma_min_is_moved_up_to_where_float32_has_digits():
    """There the quotient of the slope is that of ends twice as high, nearly."""
    ends = {"share": 0.0, "end_std": 0.001}
    near, far = (perturbed({**LSD, **ends, "end_mean": mean}) for mean in (-20.0, math.log(0.004)))
    draws = near.draws(0)
    _, t = near.recipe.pairing(0, 9, draws.u)
    low = near.recipe.pairing.until(t, draws.u, draws.v)
    assert torch.equal(low, torch.full_like(low, 0.002 * 1.01))
    torch.testing.assert_close(near.step().terms.distance, far.step().terms.distance, rtol=0.1, atol=0)


def test_the_recorded_gradient_holds_the_derivative():
    """|c_out| times that by what is compared: as if dF/ds did not depend on F."""
    t = perturbed(LSD)
    terms = t.step().terms
    _, c_out = t.recipe.parameterization(terms.sigma_student)
    wanted = 2 * terms.weight * terms.distance.sqrt() * c_out.abs()
    torch.testing.assert_close(terms.gradient, wanted.float(), rtol=1e-3, atol=1e-6)


def test_the_numbers_of_a_uniform_split_change_no_other_draw():
    plain, split, lagrangian = (
        trainer(base="meanflow", pairing=p).draws(2) for p in ("shortcut", PSD_U, LSD)
    )
    for name in ("x", "z", "u", "v"):
        assert torch.equal(getattr(plain, name), getattr(split, name))
        assert torch.equal(getattr(plain, name), getattr(lagrangian, name))
    assert plain.w is None
    assert lagrangian.w is None
    assert not torch.equal(split.v, split.w)
    assert torch.equal(torch.cat([part.w for part in split.split(4)]), split.w)
