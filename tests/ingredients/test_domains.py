"""Every formula over the whole allowed range of every field: finite, normalized, monotone, or refused in one line."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from helpers import fields
from hypothesis import assume
from hypothesis import strategies as st

import ablate
from ablate.core.errors import SpecError
from ablate.core.registry import AXES
from ablate.ingredients.coupling import CouplingStep
from ablate.ingredients.pairing import ladder

K = st.one_of(st.integers(1, 40), st.integers(1, 1_000_000))
U = torch.cat([torch.tensor([0.0]).double(), torch.linspace(1e-9, 1 - 1e-12, 201).double()])


def finite(*tensors):
    return all(bool(t.isfinite().all()) for t in tensors)


def counts(curriculum, steps):
    """N at up to a hundred steps; examples that the curriculum refuses are left out."""
    try:
        return [curriculum(k, steps) for k in sorted({round(i * (steps - 1) / 99) for i in range(100)})]
    except SpecError as error:
        assert "K >= log2" in str(error)
        assume(False)


def curriculum(data):
    """N is a number of levels of at least 2 that never falls and stays below s1 + 2."""
    option, steps = data.draw(fields.options("curriculum")), data.draw(K)
    found = counts(option, steps)
    assert found == sorted(found)
    assert all(type(N) is int and 2 <= N <= option.s1 + 1 for N in found)


def levels(data):
    """Levels ascend from sigma_min (or, with a declared defect, from above it) to sigma_max."""
    option, N = data.draw(fields.options("levels")), data.draw(st.sampled_from([2, 3, 50, 1281, 200_001]))
    sigma = option(N)
    assert sigma.shape == (N,)
    assert finite(sigma, option.slope(sigma).float())
    assert (sigma.diff() > 0).all()
    assert float(sigma[-1]) == pytest.approx(option.sigma_max, rel=1e-9)
    assert float(sigma[0]) == pytest.approx(option.sigma_min, rel=1e-9) or option.replays


def noise(data):
    """Probabilities of the pairs, and a quantile that rises; or the distribution refuses the ladder."""
    option, ladder_ = data.draw(fields.options("noise")), data.draw(fields.options("levels"))
    N = data.draw(st.sampled_from([2, 11, 1281]))
    sigma = ladder_(N)
    p, ends = option(sigma), ladder_.ends(N)
    assert ends == pytest.approx(tuple(sigma[[0, -1]].tolist()), rel=1e-9)
    try:
        option.check(*ends)
    except SpecError as error:
        if option.name == "student_t":
            assert "low must be below" in str(error) or "a probability above 0" in str(error)
            assert (
                option.low >= ends[1] or min(abs(math.log(max(s, option.low))) for s in ends) > option.scale
            )
        else:
            assert "within 37 p_std" in str(error)
            assert min(abs(math.log(s) - option.p_mean) for s in ends) > 30 * option.p_std
        return
    assert finite(p)
    assert (p >= 0).all()
    assert float(p.sum()) == pytest.approx(1)
    drawn = option.quantile(U, ladder_)
    assert finite(drawn)
    assert (drawn[1:] >= drawn[:-1] * (1 - 1e-9)).all()
    assert ladder_.sigma_min * (1 - 1e-9) <= float(drawn.min())
    assert float(drawn.max()) <= ladder_.sigma_max * (1 + 1e-9)


def pairs(data):
    """The parts of a recipe as far as its levels need them, the number of steps, and pairs at its first and last."""
    small = {"s0": 2000, "s1": 2000}
    parts = {
        "levels": data.draw(fields.options("levels")),
        "noise": data.draw(fields.options("noise")),
        "curriculum": data.draw(fields.options("curriculum", most=small)),
        "parameterization": ablate.build("parameterization", "cm"),
        "teacher": data.draw(fields.options("teacher", recipe="ect", share=None)),
    }
    ladder_, level = parts["levels"], parts["teacher"].level
    assume(not level or ladder_.sigma_min * 1.001 <= level < ladder_.sigma_max)
    pairing = data.draw(fields.options("pairing"))
    held = {field: parts[axis] for field, axis in ablate.core.registry.dependencies(type(pairing)).items()}
    pairing, steps = dataclasses.replace(pairing, **held), data.draw(K)
    try:
        pairing.check(steps)
    except SpecError:
        assume(False)
    return parts, pairing, [pairing(k, steps, U) for k in (0, steps - 1)]


def pairing(data):
    """The teacher's level is below the student's, both are on the ladder, and every weight fits into float32."""
    parts, option, found = pairs(data)
    weighting = data.draw(fields.options("weighting"))
    low, high = parts["levels"].sigma_min * (1 - 1e-9), parts["levels"].sigma_max * (1 + 1e-9)
    for teacher, student in found:
        assert teacher.dtype == student.dtype == torch.float64
        assert low <= float(teacher.min())
        assert float(student.max()) <= high
        teacher, student = option.weighed(teacher, student)
        assert finite(teacher.float(), student.float())
        assert (teacher < student).all()
        weight = weighting(teacher, student).float()
        assert finite(weight)
        assert (weight > 0).all()


def denoiser(data):
    """Coefficients fit into float32, c_skip is a share, features are finite, and f(x, sigma_min) is x."""
    low = data.draw(fields.values(AXES["levels"].schema("karras", "sigma_min")))
    sigma = torch.cat(
        [
            torch.tensor([low], dtype=torch.float64),
            torch.logspace(math.log10(low), 6, 60, dtype=torch.float64)[1:],
        ]
    )
    function = data.draw(fields.options("parameterization", sigma_min=low))
    c_skip, c_out = (c.float() for c in function(sigma))
    c_in = data.draw(fields.options("input_precond"))(sigma).float()
    c_noise = data.draw(fields.options("noise_precond"))(sigma).float()
    features = data.draw(fields.options("embedding", most={"channels": 256}))(c_noise)
    assert finite(c_skip, c_out, c_in, c_noise, features)
    assert (c_in > 0).all()
    assert ((c_skip >= 0) & (c_skip <= 1)).all()
    assert (c_noise[1:].diff() >= 0).all()
    if not function.replays:
        assert float(c_skip[0]) == pytest.approx(1)
        assert abs(float(c_out[0])) < 1e-6
    assert features.abs().max() <= 1


def metric(data):
    """A distance is at least 0, 0 of an image to itself, finite with its gradient, and grows with the error."""
    option = data.draw(fields.options("metric", [name for name in AXES["metric"].options if name != "lpips"]))
    y = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * data.draw(st.floats(1e-3, 100))
    y[2] = 0  # equal to x
    y.requires_grad_()
    x = torch.zeros_like(y)
    distance, twice = option(x, y), option(x, 2 * y)
    distance.sum().backward()
    assert finite(distance, twice, y.grad)
    rounding = (
        1e-6 * (getattr(option, "c", None) or 0) * (16 if "per_element" in option.name else 1) * 3 + 1e-12
    )
    assert (distance >= -rounding).all()
    assert float(distance[2].detach()) == pytest.approx(0, abs=rounding)
    assert (twice >= distance * (1 - 1e-5) - rounding).all()


def averaging(data):
    """A decay is a share; the warm-up never falls; the share of the initial weights is the product of the decays."""
    option, start = data.draw(fields.options("averaging")), data.draw(st.integers(0, 10**6))
    decays = [option(k) for k in range(start, start + 30)]
    assert all(0 <= d <= 1 for d in decays)
    if option.name in ("warmup", "power"):
        assert all(b >= a - 1e-15 for a, b in itertools.pairwise(decays))
    if not option.replays:
        assert option.initial_share(20) == pytest.approx(math.prod(map(option, range(20))), abs=1e-9)


def teacher(data):
    """mu is a share."""
    assert 0 <= data.draw(fields.options("teacher", recipe="ect"))(data.draw(st.integers(2, 1_000_001))) <= 1


def schedule(data):
    """The factor of the learning rate is a share at every step, and it is not 0 after the first."""
    option, steps = data.draw(fields.options("schedule")), data.draw(K)
    for k in {0, 1, steps // 2, steps - 1}:
        assert 0 <= option(k, steps) <= 1
    assert option(0, steps) > 0


def optimizer(data):
    """Weights stay finite over three steps, also one whose gradient is 0."""
    names = [name for name in AXES["optimizer"].options if name != "adamw_8bit"]
    weights = torch.ones(3)
    weights.grad = torch.tensor([0.0, 1e-3, -2.0])
    made = data.draw(fields.options("optimizer", names))([weights])
    for _ in range(3):
        made.step()
    assert finite(weights)


def coupling(data):
    """The noise is permuted, and never further from the images than as drawn; images are data or generated."""
    x, z = torch.randn(2, 6, 1, 2, 2, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    u = torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = CouplingStep(80 * u, u, None, lambda noisy, sigma, label: torch.full_like(noisy, 9.0))
    images, found = data.draw(fields.options("coupling"))(x, z, step)
    assert sorted(found.flatten(1).tolist()) == sorted(z.flatten(1).tolist())
    assert (x - found).square().sum() <= (x - z).square().sum() + 1e-5
    assert ((images == x) | (images == 9.0)).flatten(1).all()


LAWS = {
    "levels": [levels, pairing],
    "curriculum": [curriculum],
    "noise": [noise],
    "pairing": [pairing],
    "weighting": [pairing],
    "metric": [metric],
    "teacher": [teacher],
    "noise_precond": [denoiser],
    "input_precond": [denoiser],
    "parameterization": [denoiser],
    "embedding": [denoiser],
    "coupling": [coupling],
    "averaging": [averaging],
    "optimizer": [optimizer],
    "schedule": [schedule],
}
NO_FORMULA = {"direction", "sampling_precond", "network", "init_from", "dropout_sharing", "precision"}
laws = pytest.mark.parametrize("law", dict.fromkeys(law for found in LAWS.values() for law in found))


def test_every_axis_has_a_law():
    assert set(LAWS) | NO_FORMULA == set(AXES)


@laws
def test_over_the_whole_range(law):
    fields.check(law, 25)


@pytest.mark.slow
@laws
def test_over_the_whole_range_closely(law):
    fields.check(law, 400)


@pytest.mark.parametrize(
    "spec",
    [
        {"axis": "levels", "name": "karras", "sigma_min": 1.0, "sigma_max": 1.0005},
        {"axis": "pairing", "name": "ect", "q": 256.0, "stages": 4},
        {"axis": "levels", "name": "karras", "rho": 0.01},
        {"axis": "levels", "name": "karras", "sigma_min": 1e-300},
        {"axis": "embedding", "name": "fourier", "scale": 1e300},
        {"axis": "metric", "name": "cauchy", "c": 1e-200},
        {"axis": "parameterization", "name": "cm", "sigma_data": 1e-200},
        {"axis": "optimizer", "name": "adam", "eps": 1e-200},
    ],
    ids=str,
)
def test_values_outside_are_one_line(spec):
    axis = spec.pop("axis")
    with pytest.raises(SpecError) as error:
        ablate.build(axis, spec)
    assert len(error.value.problems) == 1


@dataclasses.dataclass(frozen=True)
class Broken:
    """Levels and probabilities that `ladder` must refuse, whoever wrote them."""

    sigma: tuple[float, ...] = (0.1, 1.0, 2.0)
    p: tuple[float, ...] = (0.5, 0.5)
    name = "mine"

    def __call__(self, given):
        return torch.tensor(self.p if isinstance(given, torch.Tensor) else self.sigma).double()


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (Broken(sigma=(0.0, 1.0, 2.0)), "ascend from above 0"),
        (Broken(sigma=(0.1, 0.1, 2.0)), "ascend from above 0"),
        (Broken(sigma=(0.1, 1.0, math.inf)), "ascend from above 0"),
        (Broken(sigma=(0.1, math.nan, 2.0)), "ascend from above 0"),
        (Broken(p=(math.nan, math.nan)), "2 pairs must add up to 1"),
        (Broken(p=(0.0, 0.0)), "2 pairs must add up to 1"),
        (Broken(p=(1.5, -0.5)), "2 pairs must add up to 1"),
        (Broken(p=(1.0, 1.0)), "2 pairs must add up to 1"),
    ],
)
def test_a_ladder_of_your_own_is_checked_when_it_is_drawn_from(broken, law):
    with pytest.raises(SpecError, match=law):
        ladder(broken, broken, 3, "cpu")
