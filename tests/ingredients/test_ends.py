"""Where steps end: the distribution of the second level, and recipes whose pairing and network do not agree."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny_training import losses, recipe, trainer
from helpers.tiny_training import weights as flat

import ablate
from ablate.training.loss import Draws

N = 4000
g = torch.Generator().manual_seed(0)
u, v = torch.rand(2, N, generator=g, dtype=torch.float64)
TWO = ["mean_flow", "shortcut", "alpha_flow"]


def drawn(name, **fields):
    fields = {"share": 0.25, **fields}
    exp = recipe("meanflow", **{"pairing": {"name": name, **fields}})
    _, t = exp.pairing(0, 80, u)
    return exp, t, exp.pairing.until(t, u, v)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.875, 1.0])
@pytest.mark.parametrize("name", TWO)
@pytest.mark.parametrize("mean", [None, -4.0])
def test_a_share_of_the_steps_ends_where_it_begins(name, share, mean):
    _, t, s = drawn(name, share=share, end_mean=mean)
    assert (s >= 0.002).all()
    assert (s <= t).all()
    begun = v < share
    assert torch.equal(s[begun], t[begun])
    assert float((s[~begun] < t[~begun]).double().sum()) >= 0.9 * float((~begun).sum()) * (mean is None)


@pytest.mark.parametrize(("mean", "std"), [(-0.6, 1.6), (-2.0, 0.5), (1.0, 2.0)])
def test_two_sorted_levels_are_the_larger_and_the_smaller_of_two_draws(mean, std):
    exp = recipe(
        "meanflow",
        **{"pairing.end_mean": None, "pairing.share": 0.0, "noise.p_mean": mean, "noise.p_std": std},
    )
    _, t = exp.pairing(0, 80, u)
    s = exp.pairing.until(t, u, v)
    pair = exp.noise.quantile(torch.rand(2, N, generator=g, dtype=torch.float64), exp.levels)
    for found, wanted in ((t, pair.amax(0)), (s, pair.amin(0)), (s / t, pair.amin(0) / pair.amax(0))):
        q = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
        torch.testing.assert_close(found.log().quantile(q), wanted.log().quantile(q), atol=0.12 * std, rtol=0)


@pytest.mark.parametrize(("mean", "std"), [(-4.0, 1.6), (-1.0, 0.5), (2.0, 1.0)])
def test_ends_of_their_own_distribution_are_cut_at_the_beginning(mean, std):
    exp, t, s = drawn("mean_flow", share=0.0, end_mean=mean, end_std=std)
    own = torch.exp(mean + std * torch.special.ndtri(v))
    torch.testing.assert_close(s, torch.minimum(own.clamp(min=0.002), t))
    plain = exp.noise.quantile(u, exp.levels).clamp(min=0.002 * 1.001)
    assert torch.equal(t, plain)


def test_a_second_level_draws_from_a_stream_of_its_own():
    a, b = (trainer(base=base).draws(2) for base in ("meanflow", "flow"))
    for name in ("x", "z", "u"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert b.v is None
    assert not torch.equal(a.u, a.v)
    parts = a.split(4)
    assert torch.equal(torch.cat([p.v for p in parts]), a.v)
    assert [p.v for p in Draws(a.x, a.z, a.u).split(2)] == [None, None]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pairing": "shortcut"},
        {"pairing": "lagrangian"},
        {"pairing": {"name": "alpha_flow", "share": 0.5}},
        {"pairing": "denoising"},
        {"direction": "reference"},
        {"teacher": "fixed"},
        {"parameterization": "cm", "input_precond": "cm", "noise_precond": "edm"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["gap", "end"])
def test_every_weight_of_a_network_of_two_levels_is_trained(changes, kind):
    t = trainer(base="meanflow", **changes, **{"network.second_level": kind})
    before = t.network.condition.second.weight.detach().clone()
    found = losses(t, 4)
    assert all(loss > 0 and torch.tensor(loss).isfinite() for loss in found)
    assert not torch.equal(before, t.network.condition.second.weight)
    assert flat(t.average.network).isfinite().all()


@pytest.mark.parametrize("name", ["ncsnpp", "ddpmpp", "adm"])
def test_all_other_weights_begin_as_in_a_network_of_one_level(name):
    one, two = (
        trainer(base=base, **{"network": name, **more}).network.state_dict()
        for base, more in (("flow", {}), ("meanflow", {"network.second_level": "gap"}))
    )
    assert set(two) - set(one) == {"condition.second.weight"}
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize(
    ("base", "changes", "said"),
    [
        (
            "meanflow",
            {"network.second_level": None},
            "pairing: mean_flow: needs a network with a second level; set network.second_level",
        ),
        ("ict", {"pairing": "shortcut"}, "pairing: shortcut: needs a network with a second level"),
        ("flow", {"pairing.share": 0.5}, "pairing: alpha_flow: needs a network with a second level"),
        (
            "ict",
            {"network.second_level": "end"},
            "network.second_level: 'end': pairing grid never varies the second level",
        ),
        ("meanflow", {"pairing": "ect"}, "network.second_level: 'gap': pairing ect never varies"),
        (
            "meanflow",
            {"pairing": "continuous"},
            "network.second_level: 'gap': pairing continuous never varies",
        ),
        (
            "meanflow",
            {"pairing": {"name": "alpha_flow"}},
            "network.second_level: 'gap': pairing alpha_flow never varies",
        ),
    ],
)
def test_pairings_and_networks_that_do_not_agree_are_one_line(base, changes, said):
    with pytest.raises(ablate.SpecError) as error:
        ablate.apply(ablate.load_recipe(base), changes)
    assert len(error.value.problems) == 1
    assert said in str(error.value)


@pytest.mark.parametrize("kind", [None, "gap", "end"])
def test_denoising_suits_networks_with_and_without_a_second_level(kind):
    ablate.apply(ablate.load_recipe("edm"), {"network.second_level": kind})
