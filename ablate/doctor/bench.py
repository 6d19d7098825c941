"""Where a recipe is examined: trainers on made-up images, with its own network or a stand-in of a few weights."""

from __future__ import annotations

import dataclasses
import functools
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
from ablate.training.trainer import Trainer

LARGEST = 5_000_000  # parameters that are examined as they are
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
    """A network of two convolutions that reads all that a real one reads."""

    def __init__(self, shape: tuple[int, ...], embedding: Any, dropout: float):
        super().__init__()
        self.embedding, self.dropout = embedding, Dropout(dropout)
        width = embedding(torch.zeros(1)).shape[1]
        self.first, self.last = (nn.Conv2d(a, b, 3, padding=1) for a, b in ((shape[0], 4), (4, shape[0])))
        self.condition = nn.Linear(width, 4)

    def forward(self, x: Tensor, c_noise: Tensor, label: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> the same."""
        h = self.first(x) + self.condition(self.embedding(c_noise))[:, :, None, None]
        out: Tensor = self.last(self.dropout(nn.functional.silu(h)))
        return out


@dataclass(frozen=True)
class StandIn(Network):
    """In place of a recipe's network where a check does not concern it; what follows the network stays."""

    dropout: float = 0.0
    original: Any = dataclasses.field(default=None, repr=False)
    embedding: Any = depends_on("embedding")

    def __call__(self, shape: tuple[int, int, int], classes: int = 0) -> nn.Module:
        return Small(shape, self.embedding, self.dropout)

    def output(self, F: Tensor, sigma: Tensor) -> Tensor:
        """As the original."""
        out: Tensor = self.original.output(F, sigma)
        return out


class Probe(nn.Module):
    """Remembers what a network would have read and answers `answer` everywhere."""

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
        device: where the checks of the real network run.
        compiled: examine dropout under compilation too, as is done where the profile compiles.
    """

    def __init__(
        self,
        recipe: Recipe,
        profile: Profile,
        shape: tuple[int, int, int],
        device: str = "cpu",
        compiled: bool = False,
    ):
        if recipe.init_from.reads_files:  # weights that the small stand-ins could not hold
            recipe = dataclasses.replace(recipe, init_from=AXES["init_from"].build("scratch"))
        self.recipe, self.shape, self.device, self.compiled = (
            recipe,
            shape,
            device,
            compiled or profile.compile,
        )
        # one check compiles, the others would pay for it and see nothing
        changes = {"batch": BATCH, "images": BATCH * profile.steps, "compile": False}
        self.profile = profile.model_copy(update=changes)
        self.K = self.profile.steps
        self.known: dict[str, str | None] = {}  # what recipes led to, for the liveness of fields
        self.shrunk = parameters(recipe, shape) > LARGEST

    def trainer(self, recipe: Recipe | None = None, device: str = "cpu", moved: bool = True) -> Trainer:
        """A trainer before its first step.

        Args:
            moved: move the weights from their start, where the last convolution is next to zero.
        """
        trainer = Trainer(recipe or self.light, self.profile, images(self.shape), 0, device)
        return stirred(trainer) if moved else trainer

    @functools.cached_property
    def light(self) -> Recipe:
        """The recipe with the stand-in for its network."""
        return light(self.recipe)

    @functools.cached_property
    def heavy(self) -> Recipe:
        """The recipe with its own network, or a small one of the same option where that is large."""
        return small(self.recipe) if self.shrunk else self.recipe

    def levels(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The pairs of levels at the shares u of the probability, at the last step."""
        sigma_teacher, sigma_student = self.recipe.pairing(self.K - 1, self.K, u.double())
        return sigma_teacher, sigma_student


def light(recipe: Recipe) -> Recipe:
    """`recipe` with the stand-in for its network, and without a metric that is a large network itself."""
    if recipe.metric.reads_files:
        recipe = dataclasses.replace(recipe, metric=AXES["metric"].build("squared_l2"))
    stand_in = StandIn(recipe.network.dropout, recipe.network, recipe.embedding)
    return dataclasses.replace(recipe, network=stand_in)


def small(recipe: Recipe) -> Recipe:
    """`recipe` with few parameters where its network has the fields for that."""
    fields = values(recipe.network)
    wanted = {k: v for k, v in SMALL.items() if k in fields}
    return dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, **wanted))


def parameters(recipe: Recipe, shape: tuple[int, int, int]) -> int:
    """Counted without any memory."""
    with torch.device("meta"):
        return sum(p.numel() for p in recipe.network(shape).parameters())


@functools.lru_cache(maxsize=4)
def images(shape: tuple[int, int, int]) -> Images:
    """Sixteen made-up images."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, *shape), generator=generator).to(torch.uint8)
    labels = torch.arange(16) % 4
    return Images(pixels, labels, pixels[:4], labels[:4], 4, "doctor")


@torch.no_grad()
def stirred(trainer: Trainer) -> Trainer:
    """The trainer with its weights moved, the same way in network and teacher; the average stays."""
    networks = {id(f.network): f.network for f in (trainer.f, trainer.teacher)}
    for network in networks.values():
        stir(network)
    return trainer


@torch.no_grad()
def stir(network: nn.Module) -> nn.Module:
    """Add reproducible noise to every weight."""
    generator = torch.Generator().manual_seed(1)
    for p in network.parameters():
        p.add_(0.05 * torch.randn(p.shape, generator=generator).to(p.device))
    return network
