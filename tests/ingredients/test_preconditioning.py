"""noise_precond, input_precond, parameterization and the denoiser that owns them."""

from __future__ import annotations

import pytest
import torch

import ablate
from ablate.training.denoiser import Denoiser

sigma = torch.tensor([0.002, 0.05, 0.5, 5.0, 80.0], dtype=torch.float64)
x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))


class Recorder(torch.nn.Module):
    """A network that keeps what it was given and answers with a constant."""

    def forward(self, inputs, c_noise, label=None):
        self.inputs, self.c_noise = inputs, c_noise
        return torch.full_like(inputs, 0.7)


def denoiser(**changes):
    return Denoiser(ablate.apply(ablate.load_recipe("ict"), changes), Recorder())


def test_noise_precond():
    torch.testing.assert_close(ablate.build("noise_precond", "edm")(sigma), sigma.log() / 4)
    torch.testing.assert_close(ablate.build("noise_precond", "cm")(sigma), 250 * sigma.log())
    torch.testing.assert_close(ablate.build("noise_precond", "none")(sigma), sigma)


def test_input_precond():
    torch.testing.assert_close(ablate.build("input_precond", "cm")(sigma), 1 / (sigma**2 + 0.25).sqrt())
    torch.testing.assert_close(ablate.build("input_precond", "none")(sigma), torch.ones(5).double())
    torch.testing.assert_close(ablate.build("input_precond", "script")(sigma), 1 / (sigma**2 + 0.25))


def test_parameterization_equations():
    c_skip, c_out = ablate.build("parameterization", "cm")(sigma)
    gap = sigma - 0.002
    torch.testing.assert_close(c_skip, 0.25 / (gap**2 + 0.25))
    torch.testing.assert_close(c_out, 0.5 * gap / (sigma**2 + 0.25).sqrt())
    script = ablate.build("parameterization", "script")(sigma)
    torch.testing.assert_close(script[0], 0.25 / (sigma**2 + 0.25))
    torch.testing.assert_close(script[1], sigma / (sigma**2 + 0.25).sqrt())


def test_the_scripts_switches_lead_back_to_the_papers():
    mended = ablate.build("parameterization", {"name": "script", "scale_out": True, "subtract_min": True})
    for a, b in zip(mended(sigma), ablate.build("parameterization", "cm")(sigma), strict=True):
        torch.testing.assert_close(a, b)


def test_the_boundary_condition_is_exact():
    f = denoiser()
    assert torch.equal(f(x, torch.full((5,), 0.002, dtype=torch.float64)), x)


@pytest.mark.parametrize("field", ["scale_out", "subtract_min"])
def test_the_scripts_parameterization_breaks_the_boundary_unless_mended(field):
    """Defect D3."""
    f = denoiser(parameterization={"name": "script", field: True})
    off = (f(x, torch.full((5,), 0.002, dtype=torch.float64)) - x).abs().max()
    assert (float(off) < 1e-6) == (field == "subtract_min")


def test_the_network_sees_unit_variance_at_every_level():
    """Defects D1 and D8 fail this by a factor of 80."""
    noise = torch.randn(2000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    data = 0.5 * torch.randn(2000, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    for level in (0.002, 0.5, 80.0):
        levels = torch.full((2000,), level, dtype=torch.float64)
        f = denoiser()
        f(data + level * noise, levels)
        assert float(f.network.inputs.std()) == pytest.approx(1, abs=0.1)


def test_f_is_skip_times_x_plus_out_times_F():
    f = denoiser()
    c = f.coefficients(sigma)
    torch.testing.assert_close(
        f(x, sigma), c["c_skip"][:, None, None, None] * x + 0.7 * c["c_out"][:, None, None, None]
    )
    torch.testing.assert_close(f.network.c_noise, (sigma.log() / 4).float())


def test_sampling_takes_what_was_trained_unless_the_scheduler_is_asked_for():
    """Defects D1 to D3: a perfect network sampled so sees inputs 80 times larger than in training."""
    replayed = {"input_precond": "script", "parameterization": "script"}
    own, mixed = denoiser(**replayed), denoiser(**replayed, sampling_precond="scheduler")
    for name, value in own.for_sampling().coefficients(sigma).items():
        torch.testing.assert_close(value, own.coefficients(sigma)[name])
    sampled, trained, paper = (d.coefficients(sigma) for d in (mixed.for_sampling(), mixed, denoiser()))
    assert float(sampled["c_in"][-1] / trained["c_in"][-1]) == pytest.approx(80, rel=0.01)
    for name in sampled:
        torch.testing.assert_close(sampled[name], paper[name])


def test_a_squared_input_and_a_divided_output_are_replayed():
    """Defects D11 and D15."""
    f = denoiser(input_precond="squared")
    f(x, sigma)
    torch.testing.assert_close(f.network.inputs, (x**2) * f.coefficients(sigma)["c_in"][:, None, None, None])
    divided = denoiser(**{"network.divide_by_sigma": True})
    c = divided.coefficients(sigma)
    F = 0.7 / sigma.float()[:, None, None, None]
    torch.testing.assert_close(
        divided(x, sigma), c["c_skip"][:, None, None, None] * x + c["c_out"][:, None, None, None] * F
    )


def test_the_time_of_trigflow_and_its_slope():
    """Against finite differences in float64; at sigma_data it is pi / 4."""
    for sigma_data in (0.1, 0.5, 3.0):
        trig = ablate.build("noise_precond", {"name": "trig", "sigma_data": sigma_data})
        sigma, e = torch.logspace(-2.5, 2, 20, dtype=torch.float64), 1e-6
        _, slope = torch.func.jvp(trig, (sigma,), (torch.ones_like(sigma),))
        torch.testing.assert_close(slope, (trig(sigma + e) - trig(sigma - e)) / (2 * e), rtol=1e-5, atol=1e-9)
        middle = trig(torch.tensor([sigma_data], dtype=torch.float64))
        assert float(middle) == pytest.approx(torch.pi / 4)
