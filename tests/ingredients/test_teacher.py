from __future__ import annotations

import math

import pytest

import ablate


def test_equations():
    assert ablate.build("teacher", "none")(11) == 0
    assert ablate.build("teacher", {"name": "fixed", "mu": 0.99})(11) == 0.99
    assert ablate.build("teacher", "adaptive")(151) == pytest.approx(math.exp(2 * math.log(0.9) / 151))


def test_the_two_readings_of_the_count():
    levels = ablate.build("teacher", "adaptive")
    intervals = ablate.build("teacher", {"name": "adaptive", "count": "intervals"})
    assert intervals(12) == levels(11)


def test_follows_more_slowly_as_the_ladder_grows():
    mu = [ablate.build("teacher", "adaptive")(N) for N in (2, 11, 151, 1281)]
    assert mu == sorted(mu)
    assert 0 < mu[0] < mu[-1] < 1
