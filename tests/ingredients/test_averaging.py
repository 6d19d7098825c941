from __future__ import annotations

import importlib.util

import pytest

import ablate


def test_constant():
    assert ablate.build("averaging", "constant")(123) == 0.99993


def test_warmup_rises_between_its_bounds():
    warmup = ablate.build("averaging", {"name": "warmup", "min_decay": 0.1, "max_decay": 0.99, "start": 5})
    decays = [warmup(k) for k in range(2000)]
    assert decays[:6] == [0.0] * 6
    assert decays[6:] == sorted(decays[6:])
    assert (decays[6], decays[-1]) == (pytest.approx(1 - 2**-0.75), 0.99)
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


@pytest.mark.skipif(
    importlib.util.find_spec("diffusers") is None, reason="diffusers is missing: pip install diffusers"
)
@pytest.mark.parametrize("start", [0, 1, 7])
@pytest.mark.parametrize("min_decay", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(("inv_gamma", "power"), [(1.0, 0.75), (20.0, 2 / 3)])
def test_warmup_is_diffusers(start, min_decay, inv_gamma, power):
    from diffusers.training_utils import EMAModel

    shared = {"min_decay": min_decay, "inv_gamma": inv_gamma, "power": power}
    theirs = EMAModel([], decay=0.95, update_after_step=start, use_ema_warmup=True, **shared)
    ours = ablate.build("averaging", {"name": "warmup", "max_decay": 0.95, "start": start, **shared})
    assert [ours(k) for k in range(300)] == pytest.approx([theirs.get_decay(k + 1) for k in range(300)])


@pytest.mark.parametrize(
    ("spec", "steps", "share"),
    [
        ({"name": "constant", "decay": 0.5}, 3, 0.125),
        ({"name": "constant", "decay": 1.0}, 10**6, 1.0),
        ({"name": "constant", "decay": 0.0}, 1, 0.0),
        ({"name": "warmup", "start": 100}, 20, 0.0),
        ({"name": "power"}, 1, 0.0),
        ({"name": "swapped", "decay": 0.5}, 1000, 1.0),
    ],
)
def test_the_share_of_the_initial_weights(spec, steps, share):
    assert ablate.build("averaging", spec).initial_share(steps) == share


@pytest.mark.parametrize("gamma", [0.5, 6.94, 96.99])
def test_the_inverted_power_ends_as_the_live_network(gamma):
    """Defect D24: rate and decay change places."""
    right, wrong = (
        ablate.build("averaging", {"name": name, "gamma": gamma}) for name in ("power", "power_inverted")
    )
    assert [wrong(k) for k in (0, 7, 400)] == [1 - right(k) for k in (0, 7, 400)]
    average = weights = 0.0
    for k in range(20_000):
        weights = k / 20_000
        average += (1 - wrong(k)) * (weights - average)
    assert average == pytest.approx(weights, abs=1e-4)
    assert wrong.initial_share(20_000) == 0
