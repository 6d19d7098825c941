"""A network of other code is differentiated forwards where a file is planned, for the pairings that do so in a step."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from helpers.cli import call

from ablate.core.registry import AXES

NETS = '''
import torch

class Opaque(torch.autograd.Function):
    """2 x, without forward mode."""
    @staticmethod
    def forward(ctx, x):
        return 2 * x
    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient

class Dead(torch.autograd.Function):
    """2 x, without a gradient."""
    @staticmethod
    def forward(x):
        return 2 * x
    @staticmethod
    def setup_context(ctx, inputs, output):
        pass
    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("no gradient of the derivative")
    @staticmethod
    def jvp(ctx, x):
        return Dead.apply(x)

class Once(Dead):
    """2 x, whose derivative cannot be differentiated."""
    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient

class Smooth(Once):
    """2 x, with a derivative that can."""
    @staticmethod
    def jvp(ctx, x):
        return Smooth.apply(x)

def attention(h):
    flat = h.flatten(2).transpose(1, 2)
    return torch.nn.functional.scaled_dot_product_attention(flat, flat, flat).transpose(1, 2).reshape(h.shape)

OPERATIONS = {
    "none": lambda h: h,
    "attention": attention,
    "opaque": Opaque.apply,
    "reads": lambda h: Opaque.apply(h) * (1 + 0 * float(h.mean())),
    "cdist": lambda h: h + torch.cdist(h.flatten(2), h.flatten(2)).mean(),
    "once": Once.apply,
    "smooth": Smooth.apply,
    "broken": lambda h: h.no_such_method(),
}

class Net(torch.nn.Module):
    def __init__(self, shape, classes=0, embedding=None, operation="none"):
        super().__init__()
        self.first = torch.nn.Conv2d(shape[0], shape[0], 3, padding=1)
        self.operation = OPERATIONS[operation]
    def forward(self, x, c_noise, label=None, c_until=None):
        level = c_noise if c_until is None else c_noise + c_until
        return self.operation(self.first(x) * level[:, None, None, None].tanh())
'''
OPTION = '''
import dataclasses
import ablate

@ablate.AXES["network"]("{name}")
@dataclasses.dataclass(frozen=True)
class Mine:
    """A network of two levels."""
    operation: str = "none"
    second_level: str = "end"
    def __call__(self, shape, classes=0):
        from {module} import Net
        return Net(shape, classes, None, self.operation)
'''


@pytest.fixture
def place(tmp_path, request):
    """A folder with modules of names that no other test has imported."""
    module = re.sub(r"\W", "_", request.node.name)
    (tmp_path / f"{module}.py").write_text(NETS)
    (tmp_path / f"{module}_option.py").write_text(OPTION.format(name=module, module=module))
    yield tmp_path, module
    for name in (module, f"{module}_option"):
        sys.modules.pop(name, None)
    AXES["network"].options.pop(module, None)


def planned(place, pairing, operation, more=None):
    folder, module = place
    network = {"name": "module", "path": f"{module}:Net", "arguments": {"operation": operation}}
    if pairing not in ("continuous", "grid", "ect"):
        network = {"name": module, "operation": operation}
    row = {"label": "mine", "base": "ict", "set": {"pairing": pairing, "network": network, **(more or {})}}
    text = f"name: n\nprofile: digits\nseeds: [0]\nimports: [{module}_option]\nplan:\n"
    (folder / "n.yaml").write_text(f"{text}  - list: [{{label: good, base: ict}}, {json.dumps(row)}]\n")
    return folder, network.get("path", module)


@pytest.mark.parametrize(
    ("pairing", "operation", "said"),
    [
        ("continuous", "opaque", "custom autograd.Function"),
        ("continuous", "reads", "custom autograd.Function"),
        ("continuous", "cdist", "_cdist_forward"),
        ("mean_flow", "opaque", "custom autograd.Function"),
        ("mean_flow", "cdist", "_cdist_forward"),
        ("lagrangian", "opaque", "custom autograd.Function"),
        ("lagrangian", "once", "no gradient of the derivative"),
    ],
)
def test_a_derivative_that_is_missing_is_one_line(pairing, operation, said, place):
    folder, network = planned(place, pairing, operation)
    for words in (("run", "--dry-run"), ("run",), ("run", "--no-doctor"), ("doctor",)):
        done = call(words[0], "n.yaml", *words[1:], cwd=folder)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert f"n.yaml: row 'mine': network: {network}: pairing {pairing} needs " in done.stderr
        assert said in done.stderr
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("pairing", "operation"),
    [
        ("continuous", "attention"),
        ("continuous", "once"),  # its teacher needs no gradient
        ("mean_flow", "none"),
        ("lagrangian", "attention"),
        ("lagrangian", "smooth"),
        ("shortcut", "opaque"),  # two steps, no derivative
        ("grid", "opaque"),
        ("grid", "reads"),
    ],
)
def test_what_can_be_differentiated_as_needed_is_planned(pairing, operation, place):
    folder, _ = planned(place, pairing, operation)
    done = call("run", "n.yaml", "--dry-run", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_network_that_is_broken_is_not_blamed_on_its_derivative(place):
    folder, _ = planned(place, "continuous", "broken")
    done = call("run", "n.yaml", "--dry-run", cwd=folder)
    assert done.returncode == 2
    assert "n.yaml: row 'mine': " in done.stderr
    assert "no_such_method" in done.stderr
    assert "forward-mode" not in done.stderr


def test_a_cell_that_a_row_needs_and_a_study_are_checked_too(place):
    folder, network = planned(
        place, "ect", "opaque", {"init_from": {"name": "recipe", "recipe": "deriving.yaml"}}
    )
    (folder / "deriving.yaml").write_text("name: deriving\nbase: ict\npairing: continuous\n")
    done = call("run", "n.yaml", "--dry-run", cwd=folder)
    assert done.returncode == 2
    assert (
        f"row 'mine': init_from.recipe: 'deriving.yaml': network: {network}: pairing continuous"
        in done.stderr
    )
    spec = {"name": "module", "path": network, "arguments": {"operation": "opaque"}}
    text = (
        f"name: s\nprofile: digits\nseeds: [0]\nbase: ict\nset: {json.dumps({'network': spec})}\ntrials: 2\n"
    )
    (folder / "s.yaml").write_text(f"{text}search: {{pairing: [grid, continuous]}}\n")
    done = call("study", "s.yaml", "--dry-run", cwd=folder)
    assert done.returncode == 2
    assert f"network: {network}: pairing continuous needs its forward-mode derivative" in done.stderr


def test_torch_is_not_imported_for_other_rows(tmp_path):
    (tmp_path / "n.yaml").write_text(
        "name: n\nprofile: digits\nseeds: [0]\nplan:\n  - list: [{label: a, base: sct}, {label: b, base: meanflow}]\n"
    )
    (tmp_path / "check.py").write_text(
        "import sys\nfrom ablate.planning.planner import load\nload('n.yaml')\nsys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "check.py"], cwd=tmp_path, check=False).returncode == 0
