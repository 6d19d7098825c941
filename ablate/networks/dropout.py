"""Dropout that keeps its mask, so that student and teacher drop the same activations."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)
SEEDS = 2**62


class Dropout(nn.Module):
    """x * mask / (1 - p) in training; x itself in evaluation or at p = 0.

    The first training pass draws the mask. All further passes read it, with or without gradient, until `draw_masks`
    draws a new one or the shape of x changes. The mask is drawn in the order (B, C, H, W), whatever the memory format
    of x, so its row b belongs to image b.

    Args:
        p: share of activations set to zero, 0 <= p < 1.
    Attributes:
        mask: uint8, of the shape of x; 0 where x is dropped; None before the first pass.
        seed: of the stream that draws it, on the device of x; None: that device's default stream.
        micro_batch: (i, n): x is the i-th of n equal micro-batches, in order.
    """

    def __init__(self, p: float = 0.0):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout: 0 <= p < 1 must hold, but got p={p}")
        self.p = p
        self.mask: Tensor | None = None
        self.seed: int | None = None
        self.micro_batch = (0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> the same shape and dtype."""
        if not self.training or self.p == 0:
            return x
        mask = self.mask
        if mask is None or mask.shape != x.shape or mask.device != x.device:
            mask = self.mask = self.draw(x)
        return x * mask * (1 / (1 - self.p))

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # a compiled graph would draw other numbers
    def draw(self, like: Tensor) -> Tensor:
        """A mask of the shape, device and memory format of `like`."""
        generator = None
        if self.seed is not None:
            generator = torch.Generator(like.device).manual_seed(self.seed)
        rows, (index, count) = like.shape[0], self.micro_batch
        drawn = torch.rand(rows * count, *like.shape[1:], generator=generator, device=like.device)
        mask = drawn[index * rows : (index + 1) * rows] >= self.p
        # same memory format as x: products of two formats are slow
        return torch.empty_like(like, dtype=torch.uint8).copy_(mask)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def draw_masks(network: nn.Module, generator: torch.Generator, micro_batch: tuple[int, int] = (0, 1)) -> None:
    """Draw new masks for the next training passes; call it once per training step, before both passes.

    Every Dropout gets its own stream, in module order, so the order of the passes does not matter. Networks that
    share their Dropouts share the masks. If the shape of a mask is known from the last step, it is drawn here, so
    that a compiled network finds it ready; otherwise the first pass draws the same mask from the same stream.

    Args:
        network: all its Dropouts get a stream, those of rate 0 too, so that networks of different rates share streams.
        generator: the randomness of the step, advanced by one draw; on the CPU, to avoid synchronization.
        micro_batch: (i, n): the passes process the i-th of n equal micro-batches, in order; the masks are the rows
            of that micro-batch.
    """
    dropouts = [m for m in network.modules() if isinstance(m, Dropout)]
    seeds = torch.randint(SEEDS, (len(dropouts),), generator=generator, device=generator.device).tolist()
    for dropout, seed in zip(dropouts, seeds, strict=True):
        dropout.seed, dropout.micro_batch = seed, micro_batch
        dropout.mask = None if dropout.mask is None else dropout.draw(dropout.mask)


def teacher_copy(network: Network) -> Network:
    """A copy of `network` with its own parameters that shares the Dropout objects, and so their masks.

    Keep both in training mode: `eval()` on one turns dropout off for both.
    """
    shared = {id(m): m for m in network.modules() if isinstance(m, Dropout)}
    return copy.deepcopy(network, memo=dict(shared))
