"""Dropout whose mask outlives the pass, so that student and teacher drop the same activations."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)
SEEDS = 2**62


class Dropout(nn.Module):
    """x * mask / (1 - p) in training; x itself in evaluation or at p = 0.

    The mask is drawn by the first training pass and read by all further ones, with or without gradient, until
    `draw_masks` draws anew or a batch of another shape is passed. It is drawn in the order (B, C, H, W)
    whatever the memory format of x, so its row b belongs to image b.

    Args:
        p: share of activations set to zero, 0 <= p < 1.
    Attributes:
        mask: uint8, of the shape of x; 0 where x is dropped; None before the first pass.
        seed: of the stream that it is drawn from, on the device of x; None: that device's default stream.
        part: (i, n): this process holds the i-th of n equal parts of the batch, in order.
    """

    def __init__(self, p: float = 0.0):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout: 0 <= p < 1 must hold, but got p={p}")
        self.p = p
        self.mask: Tensor | None = None
        self.seed: int | None = None
        self.part = (0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> the same shape and dtype."""
        if not self.training or self.p == 0:
            return x
        mask = self.mask
        if mask is None or mask.shape != x.shape or mask.device != x.device:
            mask = self.mask = self.draw(x)
        return x * mask * (1 / (1 - self.p))

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # a compiled graph draws numbers of its own
    def draw(self, like: Tensor) -> Tensor:
        """A mask of the shape, device and memory format of `like`."""
        generator = None
        if self.seed is not None:
            generator = torch.Generator(like.device).manual_seed(self.seed)
        rows, (index, parts) = like.shape[0], self.part
        drawn = torch.rand(rows * parts, *like.shape[1:], generator=generator, device=like.device)
        mask = drawn[index * rows : (index + 1) * rows] >= self.p
        # in memory as x is, or every product would stride across one of the two
        return torch.empty_like(like, dtype=torch.uint8).copy_(mask)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def draw_masks(network: nn.Module, generator: torch.Generator, part: tuple[int, int] = (0, 1)) -> None:
    """Let the next training passes drop by new masks; call it once per training step, before both passes.

    Every Dropout gets a stream of its own, in module order, so the order of the passes is immaterial.
    Networks that share their Dropouts share the masks. A mask whose shape is known from the last step is
    drawn here, so that a compiled network finds it ready; any other by the first pass, from the same stream,
    to the same values.

    Args:
        network: its Dropouts are meant, those of rate 0 too, so that the streams of two rates agree.
        generator: the step's randomness, advanced by one draw; on the CPU, where that waits for no device.
        part: (i, n): this process passes the i-th of n equal parts of the batch, in order; its masks are the
            rows of that part.
    """
    dropouts = [m for m in network.modules() if isinstance(m, Dropout)]
    seeds = torch.randint(SEEDS, (len(dropouts),), generator=generator, device=generator.device).tolist()
    for dropout, seed in zip(dropouts, seeds, strict=True):
        dropout.seed, dropout.part = seed, part
        dropout.mask = None if dropout.mask is None else dropout.draw(dropout.mask)


def teacher_copy(network: Network) -> Network:
    """A copy of `network` with parameters of its own that shares the very Dropout objects, hence their masks.

    Keep both in training mode: `eval()` on one turns dropout off for both.
    """
    shared = {id(m): m for m in network.modules() if isinstance(m, Dropout)}
    return copy.deepcopy(network, memo=dict(shared))
