from __future__ import annotations

import importlib.util

import pytest
import torch

import ablate


@pytest.mark.parametrize(("name", "kind"), [("radam", "RAdam"), ("adam", "Adam"), ("adamw", "AdamW")])
def test_fields_reach_torch(name, kind):
    spec = {"name": name, "lr": 0.5, "betas": [0.8, 0.9], "eps": 0.1, "weight_decay": 0.2}
    optimizer = ablate.build("optimizer", spec)([torch.nn.Parameter(torch.ones(2))])
    assert type(optimizer).__name__ == kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (0.5, (0.8, 0.9), 0.1, 0.2)


@pytest.mark.parametrize("name", ["radam", "adam", "adamw", "lion"])
def test_a_step_goes_downhill(name):
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = ablate.build("optimizer", {"name": name, "lr": 0.01})([w])
    for _ in range(10):
        optimizer.zero_grad()
        w.square().sum().backward()
        optimizer.step()
    assert float(w.detach().square().sum()) < 3


def test_an_absent_package_is_one_line():
    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is here")
    with pytest.raises(ablate.SpecError, match=r"pip install -e '\.\[8bit\]'"):
        ablate.build("optimizer", "adamw_8bit")


@pytest.mark.parametrize(
    "fields",
    [{}, {"betas": [0.5, 0.7], "lr": 0.1}, {"weight_decay": 0.3, "lr": 0.02}, {"betas": [0.0, 0.0]}],
    ids=str,
)
def test_lion_is_algorithm_2_over_three_steps(fields):
    option = ablate.build("optimizer", {"name": "lion", **fields})
    w = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer, wanted, m = option([w]), w.detach().clone(), torch.zeros(4, dtype=torch.float64)
    b1, b2 = option.betas
    for g in torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64):
        wanted = wanted - option.lr * ((b1 * m + (1 - b1) * g).sign() + option.weight_decay * wanted)
        m = b2 * m + (1 - b2) * g
        w.grad = g.clone()
        optimizer.step()
        torch.testing.assert_close(w.detach(), wanted)


def test_lion_resumes_bit_for_bit():
    def step(w, optimizer, k):
        w.grad = torch.randn(5, generator=torch.Generator().manual_seed(k))
        optimizer.step()

    w = torch.ones(5, requires_grad=True)
    optimizer = ablate.build("optimizer", {"name": "lion", "weight_decay": 0.1})([w])
    for k in range(3):
        step(w, optimizer, k)
    again = w.detach().clone().requires_grad_()
    resumed = ablate.build("optimizer", {"name": "lion", "weight_decay": 0.1})([again])
    resumed.load_state_dict(optimizer.state_dict())
    for k in range(3, 6):
        step(w, optimizer, k)
        step(again, resumed, k)
    assert torch.equal(w, again)
