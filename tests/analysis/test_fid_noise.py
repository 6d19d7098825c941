"""The noise and bias of FID, from the halves of a cell's samples."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ablate.analysis import fid_noise


def record(whole, first, second):
    return {"fid": [{"nfe": 2, "value": 1.0}, {"nfe": 1, "value": whole, "halves": [first, second]}]}


def test_extrapolation_is_exact_for_a_bias_in_proportion_to_one_over_n():
    for true, bias in ((3.0, 0.4), (70.0, 8.0)):
        assert fid_noise.extrapolated(true + bias, true + 2 * bias, true + 2 * bias) == pytest.approx(true)


def test_the_deviation_of_all_samples_follows_from_the_difference_of_halves():
    halves = np.random.default_rng(0).normal(10.0, 1.0, (100_000, 2))
    squares = [fid_noise.deviation(a, b) ** 2 for a, b in halves]
    assert np.mean(squares) == pytest.approx(halves.mean(axis=1).var(), rel=0.02)


def test_the_noise_of_an_experiment_is_relative():
    rows = [SimpleNamespace(keys=("a", "b")), SimpleNamespace(keys=("c",))]
    records = {"a": record(10.0, 11.0, 12.0), "b": record(20.0, 21.0, 22.0), "c": None}
    found = fid_noise.noise(SimpleNamespace(rows=rows), records)
    assert (found.cells, found.lowest, found.unlimited) == (2, 10.0, 8.5)
    assert found.bias == pytest.approx((0.15 + 0.075) / 2)
    assert found.noise == pytest.approx(((0.05**2 + 0.025**2) / 2) ** 0.5)
    assert found.seeds == pytest.approx(np.std([10.0, 20.0], ddof=1) / 15.0)
    assert found.seeds_alone**2 + found.noise**2 == pytest.approx(found.seeds**2)
    scaled = {k: r and record(*(7 * v for v in fid_noise.halves(r))) for k, r in records.items()}
    again = fid_noise.noise(SimpleNamespace(rows=rows), scaled)
    assert (again.bias, again.noise, again.seeds) == pytest.approx((found.bias, found.noise, found.seeds))


def test_without_halves_there_is_nothing_to_say():
    rows = [SimpleNamespace(keys=("a",))]
    assert fid_noise.noise(SimpleNamespace(rows=rows), {"a": {"fid": [{"nfe": 1, "value": 3.0}]}}) is None
