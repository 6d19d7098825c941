from __future__ import annotations

import importlib

import pytest
import torch
from helpers.examples import example

import ablate
from ablate.ingredients import weighting

lo, hi = torch.tensor([0.002, 0.5, 60.0]).double(), torch.tensor([0.004, 1.0, 80.0]).double()


def weight(name):
    return ablate.build("weighting", name)(lo, hi)


def test_equations():
    torch.testing.assert_close(weight("uniform"), torch.ones(3).double())
    torch.testing.assert_close(weight("inverse_gap"), 1 / (hi - lo))
    torch.testing.assert_close(weight("snr"), 1 / hi**2)
    torch.testing.assert_close(weight("snr_plus_one"), 1 / hi**2 + 1)
    torch.testing.assert_close(weight("truncated_snr"), torch.tensor([1 / 0.004**2, 1.0, 1.0]).double())
    torch.testing.assert_close(weight("karras"), (hi**2 + 0.25) / (0.5 * hi) ** 2)


@pytest.mark.parametrize(("teacher", "student"), [(0.002, 0.004), (0.5, 1.0), (79.9, 80.0), (1e-6, 1e5)])
def test_the_weight_of_the_linear_path(teacher, student):
    t, t_lo = student / (1 + student), teacher / (1 + teacher)
    for p in (0.0, 0.5, 0.75, 1.0, 1.5):
        option = ablate.build("weighting", {"name": "flow", "p": p})
        found = option(*torch.tensor([teacher, student], dtype=torch.float64))
        assert float(found) == pytest.approx(t ** (2 * p - 1) / (t - t_lo), rel=1e-5)


def test_the_doubled_prior_weight_is_one_over_sigma_too_much():
    """Defect D25."""
    torch.testing.assert_close(weight("doubled_prior"), weight("learned") / hi)
    assert ablate.build("weighting", "doubled_prior").balance((1, 8, 8)) is not None


def test_the_largest_weight_of_the_paper():
    sigma = ablate.build("levels", "karras")(1281)
    top = ablate.build("weighting", "inverse_gap")(sigma[:-1], sigma[1:])[0]
    assert 2.5e4 < float(top) < 2.7e4


def test_an_option_in_one_file_is_registered_with_its_fields(tmp_path, monkeypatch):
    monkeypatch.setattr(weighting.weighting, "options", dict(weighting.weighting.options))
    (tmp_path / "inverse_power.py").write_text(example("An option"))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("inverse_power")
    option = ablate.build("weighting", {"name": "inverse_power", "power": 2.0})
    sigma = torch.tensor([0.5, 2.0])
    assert torch.equal(option(sigma, sigma), sigma**-2.0)
    with pytest.raises(ablate.SpecError, match=r"weighting.power: 5.0: .*less than or equal to 4"):
        ablate.build("weighting", {"name": "inverse_power", "power": 5.0})


@pytest.mark.parametrize("sigma_data", [0.1, 0.5, 2.0])
def test_the_inverse_of_c_out_and_its_square(sigma_data):
    fields = {"scale_out": True, "subtract_min": False, "sigma_data": sigma_data}
    _, c_out = ablate.build("parameterization", {"name": "script", **fields})(hi)
    for name, wanted in (("inverse_c_out", 1 / c_out), ("karras", 1 / c_out**2)):
        found = ablate.build("weighting", {"name": name, "sigma_data": sigma_data})(lo, hi)
        torch.testing.assert_close(found, wanted)
