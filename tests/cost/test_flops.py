"""FLOPs of a training step, counted by hand for a network of one convolution, and by PyTorch for a real one."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny_training import trainer
from torch.utils.flop_counter import FlopCounterMode

import ablate
from ablate.config.profile import load_profile
from ablate.config.recipe import build, read_specs
from ablate.cost import estimate
from ablate.cost.flops import count_flops, passes
from ablate.planning import planner
from ablate.planning.rows import adapted

NET = """
import torch
class Net(torch.nn.Module):
    def __init__(self, shape, classes, embedding):
        super().__init__()
        self.only = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False)
    def forward(self, x, c_noise, label=None):
        return self.only(x)
"""
FORWARD = 2 * 9 * 64  # a multiplication and an addition for each of 9 weights at each of 64 pixels
# passes without gradient besides the student's: its own forward pass and two for the backward pass make three
PASSES = [
    ({}, 1),
    ({"coupling": "generator"}, 2),
    ({"coupling": "minibatch_ot"}, 1),
    ({"coupling": {"name": "generator", "share": 0.1}}, 2),
    ({"direction": "reference"}, 1),
    ({"direction": {"name": "network", "recipe": "edm"}}, 2),
    ({"direction": {"name": "network", "recipe": "edm"}, "coupling": "generator"}, 3),
    ({"teacher": "adaptive"}, 1),
    ({"pairing": "denoising"}, 0),
    ({"pairing": "denoising", "direction": {"name": "network", "recipe": "edm"}}, 1),
    ({"pairing": "continuous"}, 2),
    ({"pairing": "ect"}, 1),
]


@pytest.mark.parametrize(("changes", "more"), PASSES, ids=str)
def test_a_step_has_the_passes_of_its_options(changes, more, tmp_path, monkeypatch):
    (tmp_path / "one_convolution.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    network = {"name": "module", "path": "one_convolution:Net"}
    recipe = ablate.apply(ablate.load_recipe("ict"), {"network": network, **changes})
    counted = count_flops(recipe, load_profile("digits"))
    assert counted == {"parameters": 9, "flops_forward": FORWARD, "flops_step": (3 + more) * FORWARD}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"coupling": "generator"},
        {"pairing": "denoising"},
        {"teacher": "adaptive", "coupling": "generator"},
    ],
    ids=str,
)
def test_a_step_runs_as_many_passes_as_are_counted(changes):
    """Within the gradient of the input, which the first layer's backward pass leaves out, and of the embedding."""
    t = trainer(**changes)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        t.f(torch.zeros(8, 1, 8, 8), torch.ones(8, dtype=torch.float64))
    with FlopCounterMode(display=False) as step:
        t.step()
    found = step.get_total_flops() / forward.get_total_flops()
    assert found == pytest.approx(passes(t.recipe), rel=0.03)


def test_an_option_of_yours_without_passes_has_none():
    assert [o.passes for o in ablate.AXES["metric"].options.values()] == [0] * len(
        ablate.AXES["metric"].options
    )
    for recipe in ("ict", "cd", "sct", "edm", "tcm"):
        made = build(adapted(read_specs(recipe), load_profile("digits")))
        assert passes(made) == {"ict": 4, "cd": 5, "sct": 5, "edm": 3, "tcm": 5}[recipe]


def test_cells_of_one_network_with_other_passes_are_counted_and_timed_apart(tmp_path):
    rows = (
        "[{label: ict}, {label: g, set: {coupling: generator}}, {label: ot, set: {coupling: minibatch_ot}}]"
    )
    (tmp_path / "made.yaml").write_text(f"name: made\nseeds: [0]\nplan:\n  - list: {rows}\n")
    experiment = planner.load(tmp_path / "made.yaml", overrides={"profile.images": 160})
    found = estimate.groups(experiment, tmp_path / "runs")
    assert sorted(len(g.cells) for g in found) == [1, 2]
    assert len({g.step for g in found}) == 2
    total = estimate.listing(found)["flops_training"]
    assert total == 160 * found[0].flops_forward * (4 + 4 + 5)
