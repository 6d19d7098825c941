"""Couplings: what they make of images and noise, by hand, and that a batch in parts is coupled once."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from helpers.small_networks import Scale
from helpers.tiny_training import PROFILE, trainer, weights

import ablate
from ablate.ingredients.coupling import CouplingStep
from ablate.training.denoiser import Denoiser
from ablate.training.functions import Functions
from ablate.training.loss import Draws, consistency, noisy

g = torch.Generator().manual_seed(0)
x, z = torch.randn(2, 5, 1, 3, 3, generator=g)
SIGMA = torch.tensor([0.1, 0.5, 1.0, 2.0, 80.0], dtype=torch.float64)
U = torch.rand(5, generator=g, dtype=torch.float64)


def halved(noisy, sigma, label=None):
    """An average whose estimate is easy to compute by hand."""
    return noisy / 2


def given(average=halved, u=U):
    return CouplingStep(SIGMA, u, None, average)


def test_independent_leaves_both():
    images, noise = ablate.build("coupling", "independent")(x, z)
    assert images is x
    assert noise is z


def test_minibatch_ot_is_the_cheapest_permutation():
    images, paired = ablate.build("coupling", "minibatch_ot")(x, z)
    costs = [
        sum(float((x[i] - z[j]).square().sum()) for i, j in enumerate(p))
        for p in itertools.permutations(range(5))
    ]
    assert images is x
    assert abs(float((x - paired).square().sum()) - min(costs)) < 1e-4
    assert sorted(map(float, paired.flatten(1).sum(1))) == sorted(map(float, z.flatten(1).sum(1)))


def generator(share=0.5):
    return ablate.build("coupling", {"name": "generator", "share": share})


def test_the_generator_replaces_images_by_estimates_at_the_teachers_level():
    images, noise = generator(1.0)(x, z, given())
    for i, sigma in enumerate(SIGMA.tolist()):
        torch.testing.assert_close(images[i], (x[i] + sigma * z[i]) / 2)
    assert noise is z


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_a_coin_decides_on_each_image_whatever_its_level(share):
    n = 4000
    u = torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    many = torch.ones(n, 1, 1, 1)
    images, _ = generator(share)(many, many, CouplingStep(torch.ones_like(u), u, None, lambda *a: 5 * many))
    replaced = images.flatten() == 5
    assert abs(replaced.double().mean() - share) < 0.03
    if 0 < share < 1:  # no trend in u, of which the level is a function, nor in the place in the batch
        for order in (u, torch.arange(n).double()):
            assert abs(torch.corrcoef(torch.stack([order, replaced.double()]))[0, 1]) < 0.05


def test_the_generator_needs_the_average_and_waits_for_the_parts():
    with pytest.raises(ValueError, match="averaged network"):
        generator()(x, z, given(average=None))
    images, noise = generator(1.0)(x, z)
    assert images is x
    assert noise is z


@pytest.mark.parametrize("share", [-0.1, 1.5, "half"])
def test_a_share_is_a_share(share):
    with pytest.raises(ablate.SpecError, match="share"):
        generator(share)


def test_student_and_teacher_see_the_generated_image_with_the_noise_it_was_made_of():
    """x' + sigma_i z and x' + sigma_{i+1} z, with x' = f_average(x + sigma_i z, sigma_i): the equation by hand."""
    recipe = ablate.apply(ablate.load_recipe("ict"), {"coupling": {"name": "generator", "share": 1.0}})
    f, average = Denoiser(recipe, Scale(0.5)), Denoiser(recipe, Scale(0.2))
    terms = consistency(recipe, Functions(f, f, average), Draws(x, z, U), 3, 80)
    lo, hi = recipe.pairing(3, 80, U)
    made = average(noisy(x, lo, z, "float32"), lo)
    x_hi = noisy(made, hi, z, "float32")
    expected = recipe.metric(f(x_hi, hi), f(noisy(made, lo, z, "float32"), lo))
    torch.testing.assert_close(terms.distance, expected, rtol=1e-3, atol=1e-5)


def test_no_gradient_reaches_the_average_through_the_images():
    t = trainer(coupling={"name": "generator", "share": 1.0})
    t.step()
    assert all(p.grad is None and not p.requires_grad for p in t.average.network.parameters())
    assert not t.average.network.training


def test_without_a_share_training_is_that_of_independent_noise():
    runs = [trainer(coupling=c) for c in ("independent", {"name": "generator", "share": 0.0})]
    losses = [[float(t.step().loss) for _ in range(3)] for t in runs]
    assert losses[0] == losses[1]


def test_the_average_generates_without_dropout_and_draws_no_mask():
    """Its estimate does not depend on the student's masks, so the confound of the published configuration is apart."""
    plain, seen = trainer(**{"coupling": "generator", "network.dropout": 0.3}), []
    t = trainer(**{"coupling": "generator", "network.dropout": 0.3})
    draws = t.draws(0)
    hook = t.average.network.register_forward_hook(lambda m, given, out: seen.append((given[0], out)))
    t.step()
    hook.remove()
    assert len(seen) == 1
    scaled, out = seen[0]
    assert len(out) == len(draws.x)
    with torch.no_grad():
        lo, _ = t.recipe.pairing(0, t.K, draws.u)
        again = plain.average.network(scaled, plain.average.coefficients(lo)["c_noise"], None)
    assert torch.equal(out, again)


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("sharing", ["shared", "separate"])
def test_a_batch_in_parts_is_coupled_as_the_whole(parts, sharing):
    def outcome(n):
        profile = PROFILE.model_copy(update={"accumulate": n})
        t = trainer(
            profile=profile,
            coupling="generator",
            dropout_sharing=sharing,
            averaging={"name": "constant", "decay": 0.5},
            **{"network.dropout": 0.3},
        )
        steps = [t.step() for _ in range(3)]
        return weights(t.network), torch.stack([s.loss for s in steps])

    for a, b in zip(outcome(1), outcome(parts), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_resumed_run_is_bit_by_bit_the_same():
    whole, second = (trainer(coupling="generator") for _ in range(2))
    first = [float(whole.step().loss) for _ in range(2)]
    second.load_state_dict(whole.state_dict())
    rest = [float(second.step().loss) for _ in range(2)]
    again = trainer(coupling="generator")
    assert [float(again.step().loss) for _ in range(4)] == first + rest


def test_labels_reach_the_average():
    label = torch.eye(3)[torch.arange(5) % 3]
    seen = []
    step = dataclasses.replace(given(lambda x, s, label: seen.append(label) or x), label=label)
    generator()(x, z, step)
    assert seen[0] is label
