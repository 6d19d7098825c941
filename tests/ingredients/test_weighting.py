from __future__ import annotations

import torch

import ablate

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


def test_the_largest_weight_of_the_paper():
    sigma = ablate.build("levels", "karras")(1281)
    top = ablate.build("weighting", "inverse_gap")(sigma[:-1], sigma[1:])[0]
    assert 2.5e4 < float(top) < 2.7e4
