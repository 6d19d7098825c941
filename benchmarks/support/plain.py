"""A plain loop for the same cells, as one would write it first: what table_rate.py compares `run` with.

float32, torch's default threads, tensors in their usual layout, a parameter at a time in RAdam and in the average, a
teacher that is a whole copy, replayed generator states for dropout, the loss read every step; each number of sampling
steps is measured by a call of torch-fidelity of its own, nothing kept from one to the next.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset

from ablate.data import datasets
from ablate.evaluation import evaluate
from ablate.evaluation.extractors import calculate
from ablate.networks import Dropout
from ablate.planning.cells import Cell
from ablate.training.denoiser import Denoiser
from ablate.training.sampling import sample


def usual_dropout(network: torch.nn.Module) -> torch.nn.Module:
    """The network with torch's own dropout."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Dropout):
                setattr(parent, name, torch.nn.Dropout(child.p))
    return network


def compute(cell: Cell, cache: Path) -> list[float]:
    """Train a cell and return its FID at each number of steps."""
    torch.manual_seed(cell.seed)
    images = datasets.load(cell.profile.data)
    network = usual_dropout(cell.recipe.network(images.shape, 0))
    average = copy.deepcopy(network)
    train(cell, network, average, images.train.float() / 127.5 - 1)
    f = Denoiser(cell.recipe, average.eval()).for_sampling()
    return [fid(cell, f, sigmas, images, cache) for sigmas in ([80.0], [80.0, 0.821])]


def train(cell: Cell, network: torch.nn.Module, average: torch.nn.Module, images: torch.Tensor) -> None:
    """All steps of a cell."""
    for _ in steps(cell, network, images, average):
        pass


def steps(
    cell: Cell, network: torch.nn.Module, images: torch.Tensor, average: torch.nn.Module | None = None
) -> Iterator[float]:
    """The loss of each step, on the device of the images, on which the network is too."""
    recipe, profile, K = cell.recipe, cell.profile, cell.profile.steps
    random: Any = torch.cuda if images.is_cuda else torch
    average = copy.deepcopy(network) if average is None else average
    teacher = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.RAdam(network.parameters(), lr=recipe.optimizer.lr)
    f, taught = Denoiser(recipe, network), Denoiser(recipe, teacher)
    for k in range(K):
        x = images[torch.randint(len(images), (profile.batch,), device=images.device)]
        z = torch.randn_like(x)
        u = torch.rand(profile.batch, dtype=torch.float64, device=images.device)
        lo, hi = recipe.pairing(k, K, u)
        below, above = (x + s.float()[:, None, None, None] * z for s in (lo, hi))
        state = random.get_rng_state()
        y = f(above, hi)
        random.set_rng_state(state)
        with torch.no_grad():
            target = taught(below, lo)
        loss = (recipe.weighting(lo, hi).float() * recipe.metric(y, target)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
        mu = recipe.teacher(recipe.curriculum(k, K))
        follow(teacher, network, mu)
        follow(average, network, recipe.averaging(k))


@torch.no_grad()
def follow(behind: torch.nn.Module, network: torch.nn.Module, decay: float) -> None:
    """A moving average, a parameter at a time."""
    for old, new in zip(behind.parameters(), network.parameters(), strict=True):
        old.copy_(decay * old + (1 - decay) * new)


@torch.no_grad()
def fid(cell: Cell, f: Denoiser, sigmas: list[float], images: datasets.Images, cache: Path) -> float:
    """Samples by these levels, measured in one call that keeps nothing."""
    e = cell.profile.evaluation
    parts = [min(e.batch, e.samples - i) for i in range(0, e.samples, e.batch)]
    chunks = [sample(f, [torch.randn(n, *images.shape) for _ in sigmas], sigmas, 0.002) for n in parts]
    made = evaluate.to_uint8(torch.cat(chunks))
    extractor = evaluate.extractor(e.extractor, images, cache)
    layers = {f"feature_layer_{metric}": extractor.layer for metric in ("fid", "kid", "prc")}
    real = images.test[: e.samples]
    with tempfile.TemporaryDirectory() as folder:
        request: dict[str, Any] = dict(
            input1=Subset(made, range(len(made))), input2=Subset(real, range(len(real))), fid=True, kid=True, prc=True,
            kid_subset_size=min(len(made), len(real)) // 2, feature_extractor=extractor.name,
            feature_extractor_weights_path=str(extractor.weights), cuda=False, save_cpu_ram=True,
            cache=False, cache_root=folder, verbose=False, **layers,
        )  # fmt: skip
        found = calculate(request)
    return float(found["frechet_inception_distance"])
