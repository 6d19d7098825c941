from __future__ import annotations

import math

import pytest

import ablate
from ablate.core.registry import AXES


@pytest.mark.parametrize("name", AXES["schedule"].options)
def test_warmup_rises_linearly_in_every_schedule(name):
    schedule = ablate.build("schedule", {"name": name, "warmup": 10})
    assert [schedule(k, 100) for k in range(10)] == pytest.approx([(k + 1) / 10 for k in range(10)])


@pytest.mark.parametrize("name", AXES["schedule"].options)
def test_stays_between_0_and_1_beyond_the_end_too(name):
    schedule = ablate.build("schedule", name)
    assert all(0 <= schedule(k, 100) <= 1 for k in range(120))


def test_equations():
    def at(share, name, **fields):
        return ablate.build("schedule", {"name": name, **fields})(int(share * 1000), 1000)

    assert at(0.3, "constant") == 1
    assert at(0.3, "linear") == pytest.approx(0.7)
    assert at(0.3, "cosine") == pytest.approx((1 + math.cos(0.3 * math.pi)) / 2)
    assert at(0.5, "restarts", cycles=2) == pytest.approx(1)
    assert at(0.25, "restarts", cycles=2) == pytest.approx(0.5)
    assert at(0.5, "polynomial", power=2.0, end=0.1) == pytest.approx(0.1 + 0.9 * 0.25)
    assert at(0.4, "inverse_root", reference=100) == pytest.approx(0.5)


def test_constant_needs_no_end():
    assert ablate.build("schedule", "constant")(10**6) == 1
