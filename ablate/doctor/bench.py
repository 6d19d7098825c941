"""The test bench of the checks: trainers on random images, with the recipe's network or a small stand-in."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ablate.config.profile import Profile
from ablate.config.recipe import Recipe
from ablate.core.registry import AXES, depends_on, values
from ablate.data.datasets import Images
from ablate.ingredients.network import Network
from ablate.networks import Dropout
from ablate.networks.layers import Encoding
from ablate.training.trainer import Trainer

LARGEST = 5_000_000  # most parameters of a network that is examined at its own size
BATCH = 4
SMALL: dict[str, Any] = {
    "width": 16,
    "multipliers": (1, 2),
    "blocks": 1,
    "head_channels": 16,
    "deep": False,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 8,
}


class Small(nn.Module):
    """A network of two convolutions that uses all inputs that a real one uses."""

    def __init__(self, shape: tuple[int, ...], embedding: Any, dropout: float):
        super().__init__()
        self.embedding, self.dropout = Encoding(embedding), Dropout(dropout)
        width = embedding(torch.zeros(1)).shape[1]
        self.first, self.last = (nn.Conv2d(a, b, 3, padding=1) for a, b in ((shape[0], 4), (4, shape[0])))
        self.condition = nn.Linear(width, 4)

    def forward(self, x: Tensor, c_noise: Tensor, label: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        h = self.first(x) + self.condition(self.embedding(c_noise))[:, :, None, None]
        out: Tensor = self.last(self.dropout(nn.functional.silu(h)))
        return out


@dataclass(frozen=True)
class StandIn(Network):
    """Replaces a recipe's network in checks that do not concern it; the output scaling of the original is kept."""

    dropout: float = 0.0
    original: Any = dataclasses.field(default=None, repr=False)
    embedding: Any = depends_on("embedding")

    def __call__(self, shape: tuple[int, int, int], classes: int = 0) -> nn.Module:
        return Small(shape, self.embedding, self.dropout)

    def output(self, F: Tensor, sigma: Tensor) -> Tensor:
        """The output scaling of the original network."""
        out: Tensor = self.original.output(F, sigma)
        return out


class Probe(nn.Module):
    """Records the input of the network and returns `answer` everywhere."""

    def __init__(self, answer: float = 0.0):
        super().__init__()
        self.answer, self.seen = answer, torch.empty(0)

    def forward(self, x: Tensor, c_noise: Tensor, label: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        self.seen = x.detach()
        return torch.full_like(x, self.answer)


class Bench:
    """A recipe on its profile's schedule, in batches of four.

    Args:
        shape: (C, H, W) of the profile's images.
        device: for the checks of the real network.
        compiled: also examine dropout under compilation; always done if the profile compiles.
    """

    def __init__(
        self,
        recipe: Recipe,
        profile: Profile,
        shape: tuple[int, int, int],
        device: str = "cpu",
        compiled: bool = False,
    ):
        # the small stand-ins could not hold weights from elsewhere
        self.recipe, self.shape, self.device = recipe.from_scratch(), shape, device
        self.compiled = compiled or profile.compile
        # compilation is slow, and only one check needs it
        changes = {"batch": BATCH, "images": BATCH * profile.steps, "compile": False}
        self.profile = profile.model_copy(update=changes)
        self.K = self.profile.steps
        self.known: dict[str, Sequence[str] | None] = {}  # outcomes of recipes, for the liveness of fields
        self.shrunk = parameters(recipe, shape) > LARGEST

    def trainer(self, recipe: Recipe | None = None, device: str = "cpu", perturbed: bool = True) -> Trainer:
        """A trainer before its first step.

        Args:
            perturbed: add noise to the initial weights, among which those of the last convolution are nearly zero.
        """
        trainer = Trainer(recipe or self.light, self.profile, images(self.shape), 0, device)
        return perturb_trainer(trainer) if perturbed else trainer

    @functools.cached_property
    def light(self) -> Recipe:
        """The recipe with the stand-in for its network."""
        return light(self.recipe)

    @functools.cached_property
    def heavy(self) -> Recipe:
        """The recipe with its own network, or with a small one of the same option if that is large."""
        return small(self.recipe) if self.shrunk else self.recipe

    def levels(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs (sigma_teacher, sigma_student) at the quantiles u of the distribution, at the last step."""
        sigma_teacher, sigma_student = self.recipe.pairing(self.K - 1, self.K, u.double())
        return sigma_teacher, sigma_student


def light(recipe: Recipe) -> Recipe:
    """`recipe` with the stand-in for its network, and with a plain metric if its own is a large network."""
    if recipe.metric.reads_files:
        recipe = dataclasses.replace(recipe, metric=AXES["metric"].build("squared_l2"))
    stand_in = StandIn(recipe.network.dropout, recipe.network, recipe.embedding)
    return dataclasses.replace(recipe, network=stand_in)


def small(recipe: Recipe) -> Recipe:
    """`recipe` with a network of few parameters, as far as it has fields for that."""
    fields = values(recipe.network)
    changes = {k: v for k, v in SMALL.items() if k in fields}
    return dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, **changes))


def parameters(recipe: Recipe, shape: tuple[int, int, int]) -> int:
    """Number of parameters of the recipe's network for images `shape` (C, H, W), counted without allocating it."""
    with torch.device("meta"):
        return sum(p.numel() for p in recipe.network(shape).parameters())


@functools.lru_cache(maxsize=4)
def images(shape: tuple[int, int, int]) -> Images:
    """Sixteen random images of `shape` (C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, *shape), generator=generator).to(torch.uint8)
    labels = torch.arange(16) % 4
    return Images(pixels, labels, pixels[:4], labels[:4], 4, "doctor")


@torch.no_grad()
def perturb_trainer(trainer: Trainer) -> Trainer:
    """Perturb the weights of network and teacher in the same way; the average is unchanged."""
    networks = {id(f.network): f.network for f in (trainer.f, trainer.teacher)}
    for network in networks.values():
        perturb(network)
    return trainer


@torch.no_grad()
def perturb(network: nn.Module) -> nn.Module:
    """Add reproducible noise to every weight."""
    generator = torch.Generator().manual_seed(1)
    for p in network.parameters():
        p.add_(0.05 * torch.randn(p.shape, generator=generator).to(p.device))
    return network
