from __future__ import annotations

import pytest

import ablate


def test_constant():
    assert ablate.build("averaging", "constant")(123) == 0.99993


def test_warmup_rises_between_its_bounds():
    warmup = ablate.build("averaging", {"name": "warmup", "min_decay": 0.1, "max_decay": 0.99, "start": 5})
    decays = [warmup(k) for k in range(2000)]
    assert decays[:5] == [0.0] * 5
    assert decays[5:] == sorted(decays[5:])
    assert (decays[5], decays[-1]) == (0.1, 0.99)
    assert ablate.build("averaging", "warmup")(9) == pytest.approx(1 - 10**-0.75)


def test_power_weights_the_past_by_a_power():
    """The weight of step j in the average at step k is proportional to j^gamma."""
    power = ablate.build("averaging", {"name": "power", "gamma": 3.0})
    profile, total = [1.0] * 2000, 1.0
    for k in range(1999, 0, -1):
        profile[k - 1] = total = total * power(k)
    assert power(0) == 0
    early = profile[499] * (1 - power(499)) / (profile[999] * (1 - power(999)))
    assert early == pytest.approx(0.5**3, rel=0.02)


def test_bounds_are_ordered():
    with pytest.raises(ablate.SpecError, match="min_decay <= max_decay"):
        ablate.build("averaging", {"name": "warmup", "min_decay": 0.9, "max_decay": 0.5})
