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


@pytest.mark.parametrize("name", ["radam", "adam", "adamw"])
def test_a_step_goes_downhill(name):
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = ablate.build("optimizer", {"name": name, "lr": 0.01})([w])
    for _ in range(10):
        optimizer.zero_grad()
        w.square().sum().backward()
        optimizer.step()
    assert float(w.detach().square().sum()) < 3


def test_an_absent_package_is_told_at_once():
    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is here")
    with pytest.raises(ablate.SpecError, match=r"pip install -e '\.\[8bit\]'"):
        ablate.build("optimizer", "adamw_8bit")
