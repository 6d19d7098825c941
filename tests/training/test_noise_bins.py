from __future__ import annotations

import itertools
import math

import pytest
import torch

from ablate.training.loss import Terms
from ablate.training.noise_bins import BINS, bins, by_level, edges, frame


def terms(hi, weight, distance):
    hi, weight, distance = (torch.tensor(v, dtype=torch.float64) for v in (hi, weight, distance))
    return Terms(weight, distance, hi * 0.9, hi)


def test_the_bins_are_equal_in_log_sigma_and_cover_the_ladder():
    ends = edges(0.002, 80.0)
    assert (ends[0], ends[-1]) == (0.002, pytest.approx(80.0))
    middles = torch.tensor([math.sqrt(a * b) for a, b in itertools.pairwise(ends)])
    assert bins(middles, 0.002, 80.0).tolist() == list(range(BINS))
    assert bins(torch.tensor([1e-9, 0.002, 80.0, 1e9]), 0.002, 80.0).tolist() == [0, 0, BINS - 1, BINS - 1]


def test_means_over_all_images_of_several_steps():
    found = by_level(
        [terms([0.003, 0.003], [2.0, 4.0], [1.0, 1.0]), terms([0.003, 70.0], [1, 1], [4, 8])], 0.002, 80.0
    )
    assert (found["count_sigma_0"], found["count_sigma_7"], found["count_sigma_3"]) == (3, 1, 0)
    assert found["loss_sigma_0"] == pytest.approx(10 / 3)
    assert found["gap_sigma_0"] == pytest.approx(2)
    assert found["loss_sigma_7"] == found["gap_sigma_7"] == 8
    assert "loss_sigma_3" not in found


def test_the_bins_add_up_to_the_loss():
    g = torch.Generator().manual_seed(0)
    many = [Terms(*torch.rand(3, 16, generator=g), torch.rand(16, generator=g) * 80) for _ in range(5)]
    found = by_level(many, 0.002, 80.0)
    total = sum(found[f"count_sigma_{i}"] * found.get(f"loss_sigma_{i}", 0.0) for i in range(BINS))
    assert total / 80 == pytest.approx(torch.stack([t.loss for t in many]).mean().item())


def test_lines_become_a_table():
    metrics = by_level([terms([0.003, 70.0], [1, 1], [4, 8])], 0.002, 80.0)
    table = frame([{"step": 5, "images": 40, "metrics": m} for m in ({"loss": 1.0}, metrics)])
    assert table["bin"].tolist() == [0, 7]
    assert table["gap"].tolist() == [4, 8]
    assert table["sigma"].between(0.002, 80).all()
    assert frame([]).empty
