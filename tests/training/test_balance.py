"""A weighting with parameters: its optimum, its place in optimizer, checkpoints and parts of a batch."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.tiny_training import PROFILE, losses, trainer, weights

import ablate
from ablate.training.loss import Terms

LEARNED = {"weighting": "learned", "metric": "squared_l2"}


def test_the_weight_starts_as_a_mean_over_values_of_network_outputs():
    weighting, sigma = ablate.build("weighting", "learned"), torch.tensor([0.01, 1.0, 50.0]).double()
    balance = weighting.balance((3, 4, 4))
    torch.testing.assert_close(balance(sigma), torch.full((3,), -math.log(48)))
    torch.testing.assert_close(weighting(sigma / 2, sigma), ablate.build("weighting", "karras")(sigma, sigma))


def test_the_optimum_is_where_every_level_has_the_same_loss():
    """Distances that grow with the level a hundredfold; afterwards weight times distance is 1 at all of them."""
    sigma = torch.logspace(-2, 1, 16, dtype=torch.float64)
    product = (1 + 33 * sigma).float()
    balance = ablate.build("weighting", "learned").balance((1, 1, 1))
    optimizer = torch.optim.LBFGS(balance.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        v = balance(sigma)
        value = Terms(v.exp(), product, sigma, sigma, log_weight=v).loss
        value.backward()
        return value

    optimizer.step(closure)
    torch.testing.assert_close(balance(sigma).exp() * product, torch.ones(16), rtol=0.1, atol=0)


def test_it_is_trained_with_the_network_and_not_averaged_or_kept_with_the_weights():
    t = trainer(**LEARNED)
    before = t.balance.head.weight.clone()
    losses(t, 3)
    assert not torch.equal(before, t.balance.head.weight)
    assert not any("head" in name for name in t.average.network.state_dict())
    assert trainer().balance is None
    assert "balance" not in trainer().state_dict()


def test_a_resumed_run_is_bit_equal(tmp_path):
    whole, first, second = (trainer(**LEARNED) for _ in range(3))
    undisturbed, begun = losses(whole, 8), losses(first, 3)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert begun + losses(second, 5) == undisturbed
    assert torch.equal(second.balance.head.weight, whole.balance.head.weight)
    assert torch.equal(weights(second.network), weights(whole.network))


def test_a_batch_in_parts_has_the_gradient_of_the_whole():
    def gradient(parts):
        t = trainer(profile=PROFILE.model_copy(update={"accumulate": parts}), **LEARNED)
        steps = [t.step() for _ in range(2)]
        return t.balance.head.weight.grad, steps[-1].loss

    for a, b in zip(gradient(1), gradient(4), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("channels", [3, 0])
def test_features_come_in_pairs(channels):
    with pytest.raises(ablate.SpecError, match=r"weighting\.channels"):
        ablate.build("weighting", {"name": "learned", "channels": channels})


def test_weight_decay_leaves_it_alone():
    t = trainer(**LEARNED, optimizer={"name": "adamw", "weight_decay": 0.1})
    assert [group["weight_decay"] for group in t.optimizer.param_groups] == [0.1, 0.0]
    assert t.optimizer.param_groups[1]["params"] == t.balanced
    losses(t, 2)
