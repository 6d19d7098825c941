from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ablate

levels = ablate.build("levels", "karras")
sigma = levels(1281)


def lognormal(p_mean, p_std):
    return ablate.build("noise", {"name": "lognormal", "p_mean": p_mean, "p_std": p_std})


@pytest.mark.parametrize(
    ("p_mean", "p_std"), [(5.0, 0.05), (-7.0, 0.05), (20.0, 1.0), (-20.0, 0.5), (6.0, 0.1)]
)
def test_both_tails_keep_their_digits(p_mean, p_std):
    """Against log Phi, which has digits everywhere."""
    lognormal(p_mean, p_std).check(0.002, 80.0)
    z = (sigma.log() - p_mean) / p_std
    near = torch.special.log_ndtr(-z if p_mean > 0 else z)
    low, high = (near[1:], near[:-1]) if p_mean > 0 else (near[:-1], near[1:])
    mass = high + torch.log(-torch.expm1(low - high))
    wanted = torch.exp(mass - mass.max())
    torch.testing.assert_close(lognormal(p_mean, p_std)(sigma), wanted / wanted.sum(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("p_mean", "p_std"), [(5.0, 0.01), (-20.0, 0.3), (20.0, 0.4), (7.0, 1e-3)])
def test_a_distribution_beyond_the_ladder_is_refused(p_mean, p_std):
    with pytest.raises(ablate.SpecError, match=f"within 37 p_std of p_mean, but got p_mean={p_mean}"):
        lognormal(p_mean, p_std).check(0.002, 80.0)


def test_a_narrow_distribution_on_the_ladder_is_one_pair():
    lognormal(0.0, 1e-3).check(0.002, 80.0)
    p = lognormal(0.0, 1e-3)(sigma)
    assert p.max() > 0.99
    assert sigma[p.argmax()] < 1 < sigma[p.argmax() + 1]


def test_uniform():
    torch.testing.assert_close(
        ablate.build("noise", "uniform")(sigma), torch.full((1280,), 1 / 1280).double()
    )


def test_the_equation_of_the_paper():
    p = ablate.build("noise", "lognormal")(sigma)
    mass = [math.erf((math.log(float(s)) + 1.1) / (math.sqrt(2) * 2.0)) for s in sigma]
    wanted = torch.tensor(mass, dtype=torch.float64).diff()
    torch.testing.assert_close(p, wanted / wanted.sum())


def test_a_positive_mean_moves_the_mass_up():
    """Defect D12: the share below 0.5 falls from 58 % to 20 %."""

    def below(p_mean):
        p = ablate.build("noise", {"name": "lognormal", "p_mean": p_mean})(sigma)
        return float(p[sigma[1:] < 0.5].sum())

    assert below(-1.1) == pytest.approx(0.58, abs=0.02)
    assert below(1.1) == pytest.approx(0.20, abs=0.02)


u = torch.linspace(0, 1, 2001, dtype=torch.float64)[1:-1]


@pytest.mark.parametrize(
    "spec",
    [
        "uniform",
        "lognormal",
        {"name": "lognormal", "p_mean": 6.0, "p_std": 0.4},
        "student_t",
        {"name": "student_t", "df": 3.0, "scale": 1.0, "low": 0.01},
        {"name": "student_t", "df": 30.0, "scale": 0.5, "low": 1e-6},
    ],
)
def test_the_quantile_is_the_limit_of_the_distribution_over_pairs(spec):
    part, fine = ablate.build("noise", spec), levels(20_001)
    drawn = part.quantile(u, levels)
    cdf = torch.cat([torch.zeros(1).double(), part(fine).cumsum(0)])
    wanted = fine[torch.searchsorted(cdf, u, right=True).clamp(max=len(fine) - 1)]
    assert drawn.dtype == torch.float64
    assert (drawn.diff() >= 0).all()
    torch.testing.assert_close(drawn, wanted, rtol=2e-2, atol=1e-4)


def student_t(**fields):
    return ablate.build("noise", {"name": "student_t", **fields})


def density(df, scale, low, high):
    """Of ln sigma, by integration of the formula: the normalized distribution function at a million places."""
    at = np.linspace(math.log(low), math.log(high), 1_000_001)
    log = -(df + 1) / 2 * np.log1p((at / scale) ** 2 / df)
    cdf = np.concatenate([[0], np.cumsum(np.exp(log[1:]) + np.exp(log[:-1]))])
    return at, cdf / cdf[-1]


def test_the_quartiles_of_tcm():
    """df 0.01, scale 0.2, cut to [1, 80]."""
    drawn = student_t().quantile(torch.tensor([0.25, 0.5, 0.75, 0.9]), levels)
    assert [round(float(s), 2) for s in drawn] == [1.04, 1.22, 2.52, 10.44]


@pytest.mark.parametrize(
    "spec",
    [(0.01, 0.2, 1.0), (0.001, 2.0, 0.5), (1.0, 1.0, 0.002), (30.0, 0.3, 2.0), (1000.0, 0.5, 0.01)],
    ids=str,
)
def test_student_t_is_the_normalized_density(spec):
    df, scale, low = spec
    part = student_t(df=df, scale=scale, low=low)
    at, cdf = density(df, scale, low, 80.0)
    wanted = np.exp(np.interp(u.numpy(), cdf, at))
    torch.testing.assert_close(part.quantile(u, levels), torch.from_numpy(wanted), rtol=1e-4, atol=0)
    mass = np.diff(np.interp(sigma.clamp(min=low).log().numpy(), at, cdf))
    torch.testing.assert_close(part(sigma), torch.from_numpy(mass), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("df", [1e-3, 0.01, 0.7, 4.0, 200.0, 1e3])
@pytest.mark.parametrize(("scale", "low"), [(1e-3, 1.0), (0.2, 1e-6), (0.2, 1.0), (5.0, 0.3), (20.0, 20.0)])
def test_the_quantile_of_student_t_inverts_its_distribution_function(df, scale, low):
    part = student_t(df=df, scale=scale, low=low)
    try:
        part.check(0.002, 80.0)
    except ablate.SpecError as error:
        assert "a probability above 0" in str(error)
        assert (df, scale) in [(200.0, 1e-3), (1e3, 1e-3)]
        return
    drawn = part.quantile(u, levels)
    assert drawn.isfinite().all()
    assert max(low, 0.002) <= float(drawn[0]) <= float(drawn[-1]) <= 80
    total = part.mass([max(low, 0.002), 80.0])[0]
    back = [part.mass([max(low, 0.002), float(s)])[0] / total for s in drawn[::100]]
    assert back == pytest.approx(u[::100].tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "ends", "law"),
    [
        ({"low": 80.0}, (0.002, 80.0), "low must be below the highest level, 80, but got low=80.0"),
        ({}, (0.002, 0.5), "low must be below the highest level, 0.5, but got low=1.0"),
        (
            {"df": 1e3, "scale": 1e-3, "low": 2.0},
            (0.002, 80.0),
            "the levels, 2 to 80, must have a probability above 0",
        ),
    ],
)
def test_student_t_without_mass_on_the_levels_is_refused(fields, ends, law):
    with pytest.raises(ablate.SpecError, match=law):
        student_t(**fields).check(*ends)


def test_student_t_has_no_mass_below_its_lowest_level():
    p = student_t(low=1.0)(sigma)
    assert float(p[sigma[1:] <= 1].sum()) == 0
    assert float(p.sum()) == pytest.approx(1)
    assert (p[sigma[:-1] > 1] > 0).all()


@pytest.mark.parametrize("name", ["uniform", "lognormal"])
def test_the_quantile_ends_where_the_ladder_ends(name):
    ends = ablate.build("noise", name).quantile(torch.tensor([0.0, 1.0]).double(), levels)
    torch.testing.assert_close(ends, torch.tensor([0.002, 80.0]).double())
