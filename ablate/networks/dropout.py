"""Dropout that keeps its mask, so that student and teacher drop the same activations."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)
SEEDS = 2**62


class Dropped(torch.autograd.Function):
    """x mask scale in one operation, and so its derivatives; as products they would be two operations each."""

    @staticmethod
    def forward(x: Tensor, mask: Tensor, scale: float) -> Tensor:
        dropped: Tensor = torch.ops.aten.native_dropout_backward(x, mask, scale)
        return dropped

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
        _, mask, ctx.scale = inputs
        ctx.save_for_backward(mask)
        ctx.save_for_forward(mask)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return Dropped.apply(gradient, ctx.saved_tensors[0], ctx.scale), None, None

    @staticmethod
    def jvp(ctx: Any, x: Tensor, mask: None, scale: None) -> Any:  # type: ignore[override]
        return Dropped.apply(x, ctx.saved_tensors[0], ctx.scale)


class Dropout(nn.Module):
    """x * mask / (1 - p) in training; x itself in evaluation or at p = 0.

    The first training pass draws the mask. All further passes read it, with or without gradient, until `draw_masks`
    draws a new one or the shape of x changes. The mask is drawn in the order (B, C, H, W), whatever the memory format
    of x, so its row b belongs to image b.

    Args:
        p: share of activations set to zero, 0 <= p < 1.
    Attributes:
        mask: of the shape of x; 0 where x is dropped; None before the first pass. It is bool, but uint8 on a CPU,
            where products with that are faster.
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
        scale = 1 / (1 - self.p)
        # on a CPU two products are faster than one such operation
        return x * mask * scale if x.device.type == "cpu" else Dropped.apply(x, mask, scale)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # a compiled graph would draw other numbers
    def draw(self, like: Tensor) -> Tensor:
        """A mask of the shape, device and memory format of `like`."""
        generator = None
        if self.seed is not None:
            generator = torch.Generator(like.device).manual_seed(self.seed)
        rows, (index, count) = like.shape[0], self.micro_batch
        drawn = torch.rand(rows * count, *like.shape[1:], generator=generator, device=like.device)
        mask = drawn[index * rows : (index + 1) * rows] >= self.p
        kind = torch.uint8 if like.device.type == "cpu" else torch.bool
        # same memory format as x: products of two formats are slow
        return torch.empty_like(like, dtype=kind).copy_(mask)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def draw_masks(network: nn.Module, generator: torch.Generator, micro_batch: tuple[int, int] = (0, 1)) -> None:
    """Draw new masks for the next training passes; call it once per training step, before both passes.

    Every Dropout gets its own stream, in module order, so the order of the passes does not matter. Networks that
    share their Dropouts share the masks. If the shape of a mask is known from the last step, it is drawn here, so
    that a compiled network finds it ready. On a CPU the first pass otherwise draws the same mask from the same stream.
    On any other device, where an operation costs more than the numbers, the known masks are drawn together, from the
    first stream: other masks than a first pass draws.

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
    known = [(d, d.mask) for d in dropouts if d.mask is not None]
    if known and known[0][1].device.type != "cpu":
        _draw_together(known, seeds[0])
        return
    for dropout, mask in known:
        dropout.mask = dropout.draw(mask)


def _draw_together(known: list[tuple[Dropout, Tensor]], seed: int) -> None:
    """Replace masks of one device by new ones of the same shapes, with one operation for each rate."""
    device, (index, count) = known[0][1].device, known[0][0].micro_batch
    generator = torch.Generator(device).manual_seed(seed)
    for p in sorted({dropout.p for dropout, _ in known}):
        group = [pair for pair in known if pair[0].p == p]
        sizes = [mask.numel() for _, mask in group]
        drawn = torch.empty(sum(sizes) * count, dtype=torch.bool, device=device)
        drawn.bernoulli_(1 - p, generator=generator)
        parts = torch.split(drawn, [n * count for n in sizes])
        if count > 1:  # keep the rows of this micro-batch, not those of the whole batch
            parts = torch.split(torch.cat([part.chunk(count)[index] for part in parts]), sizes)
        for (dropout, mask), part in zip(group, parts, strict=True):
            dropout.mask = part.as_strided(mask.shape, mask.stride())


def teacher_copy(network: Network) -> Network:
    """A copy of `network` with its own parameters that shares the Dropout objects, and so their masks.

    Keep both in training mode: `eval()` on one turns dropout off for both.
    """
    shared = {id(m): m for m in network.modules() if isinstance(m, Dropout)}
    return copy.deepcopy(network, memo=dict(shared))
