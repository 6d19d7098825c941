from __future__ import annotations

import math

import pytest
import torch

import ablate
from ablate.core.registry import AXES

x, y = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
CHEAP = [name for name in AXES["metric"].options if name != "lpips"]


def metric(name, **fields):
    return ablate.build("metric", {"name": name, **fields})


@pytest.mark.parametrize("name", CHEAP)
def test_a_distance_of_whole_images(name):
    d = metric(name)
    assert d(x, y).shape == (4,)
    assert (d(x, y) > 0).all()
    torch.testing.assert_close(d(x, x), torch.zeros(4).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(d(x, y), d(y, x))


@pytest.mark.parametrize("name", CHEAP)
def test_gradients_are_finite_even_where_the_images_are_equal(name):
    moving = x.clone().requires_grad_()
    metric(name)(moving, x).sum().backward()
    assert moving.grad.isfinite().all()


def test_equations():
    e = (x - y).flatten(1)
    torch.testing.assert_close(metric("squared_l2")(x, y), e.norm(dim=1) ** 2)
    torch.testing.assert_close(metric("l2")(x, y), e.norm(dim=1))
    torch.testing.assert_close(metric("l1")(x, y), e.abs().sum(1))
    torch.testing.assert_close(metric("pseudo_huber", c=0.3)(x, y), (e.norm(dim=1) ** 2 + 0.09).sqrt() - 0.3)
    torch.testing.assert_close(
        metric("pseudo_huber_per_element", c=0.3)(x, y), ((e**2 + 0.09).sqrt() - 0.3).sum(1)
    )
    torch.testing.assert_close(metric("cauchy", c=0.3)(x, y), 0.045 * (1 + e.norm(dim=1) ** 2 / 0.09).log())


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_the_gradient_of_the_adaptive_metric_is_that_of_a_weighted_square(p, scale):
    """MeanFlow's n^2 / sg(n^2 + c^2)^p."""
    a = (scale * x).requires_grad_()
    n2 = (a - scale * y).square().flatten(1).sum(1)
    wanted = torch.autograd.grad((n2 / (n2 + 0.3**2).detach() ** p).sum(), a)[0]
    found = torch.autograd.grad(metric("adaptive", p=p, c=0.3)(a, scale * y).sum(), a)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)


def test_the_adaptive_metric_has_others_at_some_powers():
    for p, name, factor in ((0.0, "squared_l2", 1), (0.5, "pseudo_huber", 2), (1.0, "cauchy", 2 / 0.3**2)):
        fields = {} if name == "squared_l2" else {"c": 0.3}
        torch.testing.assert_close(
            metric("adaptive", p=p, c=0.3)(x, y), factor * metric(name, **fields)(x, y)
        )


def test_the_default_c_is_the_papers():
    a, b = torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), 1e-3)
    c = 0.00054 * math.sqrt(3072)
    assert c == pytest.approx(0.0299, abs=1e-4)
    torch.testing.assert_close(metric("pseudo_huber")(a, b), metric("pseudo_huber", c=c)(a, b))


@pytest.mark.parametrize(("scale", "power"), [(1e-5, 2), (1e3, 1)])
def test_pseudo_huber_is_quadratic_below_c_and_linear_above(scale, power):
    d = metric("pseudo_huber", c=0.1)
    ratio = d(x + 2 * scale * (y - x), x) / d(x + scale * (y - x), x)
    torch.testing.assert_close(ratio, torch.full((4,), 2.0**power).double(), rtol=1e-2, atol=0)


def test_per_element_huber_is_not_the_whole_images():
    """Defect D13: at 0.005 per pixel the image is in the linear zone, its elements are in the quadratic one."""
    a, small = torch.zeros(1, 3, 32, 32).double(), torch.full((1, 3, 32, 32), 0.005).double()
    whole, element = metric("pseudo_huber"), metric("pseudo_huber_per_element")
    assert float(whole(a, 2 * small) / whole(a, small)) == pytest.approx(2, rel=0.15)
    assert float(element(a, 2 * small) / element(a, small)) == pytest.approx(4, rel=0.15)
