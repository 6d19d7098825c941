"""The parts of a U-Net: residual blocks, attention, and the levels of its encoder and decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ablate.networks.dropout import Dropout
from ablate.networks.layers import Conv, Init, Linear, Norm, Resample

Pair = tuple[Tensor, Tensor]
UNIT_EPS = 1e-4
# gain of last convolutions: a block starts as its skip connection, but all parameters get gradients
NEARLY_ZERO = 1e-5


@dataclass(frozen=True)
class Style:
    """How the networks of the family differ, besides their size.

    Args:
        taps: resampling filter.
        input_skips: every level also gets the image, downsampled by its own convolutions.
        skip_scale: factor of each sum of a branch and its skip connection.
        adaptive: True: the embedding scales and shifts the normalized activations; False: it is added before the norm.
        double_norm: if adaptive, scale and shift are normalized over the channels.
        skip_projection: a block that resamples without changing channels has a 1x1 convolution in its skip connection.
        attention_up: True: attention in each decoder block of a level; False: only in its last one.
        head_channels: channels per attention head; None: one head.
        eps: of the group norms.
        init, init_attention: initialization of all layers, and of the attention's queries, keys and values.
        label_last: True: labels are added after the two layers of the embedding; False: before them.
        first_multiplied: True: the first convolution has the channels of the first level; False: the network's width.
        second_level: what of a second noise level is embedded besides the level; None: the network has one level.
    """

    taps: tuple[int, ...]
    input_skips: bool
    skip_scale: float
    adaptive: bool
    double_norm: bool
    skip_projection: bool
    attention_up: bool
    head_channels: int | None
    eps: float
    init: Init
    init_attention: Init
    label_last: bool
    first_multiplied: bool
    second_level: Literal["gap", "end"] | None = None

    @property
    def init_last(self) -> Init:
        """Initialization of the last convolutions."""
        return Init(self.init.mode, NEARLY_ZERO)

    def heads(self, channels: int) -> int:
        """The number of attention heads for `channels`."""
        return max(1, channels // (self.head_channels or channels))


@dataclass(frozen=True)
class Size:
    """The size of a network; for its fields see the options of `ablate.ingredients.network`."""

    width: int
    multipliers: Sequence[int]
    blocks: int
    attention: Sequence[int]
    dropout: float = 0.0
    checkpointing: bool = False


def unit(x: Tensor) -> Tensor:
    """x (B, C, H, W) over its root mean square over the channels."""
    return x / (x.square().mean(1, keepdim=True) + UNIT_EPS).sqrt()


def scaled(total: Tensor, scale: float) -> Tensor:
    """`total` times `scale`, in place, because the backward pass does not need the sum."""
    return total if scale == 1 else total.mul_(scale)


class Attention(nn.Module):
    """Self-attention over pixels with a skip connection: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, style: Style):
        super().__init__()
        self.heads, self.scale = style.heads(channels), style.skip_scale
        self.norm = Norm(channels, style.eps)
        self.qkv = Conv(channels, 3 * channels, 1, style.init_attention)
        self.last = Conv(channels, channels, 1, style.init_last)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)."""
        rows, channels = x.shape[:2]
        qkv = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)
        q, k, v = qkv.unflatten(2, (3, self.heads, channels // self.heads)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(2, 3)
        return scaled(x + self.last(mixed.reshape(rows, channels, *x.shape[2:])), self.scale)


class Block(nn.Module):
    """Residual block: two convolutions with the embedding between them, then optional attention.

    Args:
        inputs, outputs: channels.
        embedded: width of the embedding, E.
        style, size: of the network.
        resample: changes the resolution; None: keeps it.
        attention: whether attention follows.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedded: int,
        style: Style,
        size: Size,
        resample: Resample | None = None,
        attention: bool = False,
    ):
        super().__init__()
        self.style, self.checkpointing = style, size.checkpointing
        self.norm0 = Norm(inputs, style.eps)
        self.resample = resample
        self.conv0 = Conv(inputs, outputs, 3, style.init)
        self.affine = Linear(embedded, outputs * (1 + style.adaptive), style.init)
        self.norm1 = Norm(outputs, style.eps)
        self.dropout = Dropout(size.dropout)
        self.conv1 = Conv(outputs, outputs, 3, style.init_last)
        project = inputs != outputs or (resample is not None and style.skip_projection)
        self.skip = Conv(inputs, outputs, 1, style.init) if project else None
        self.attention = Attention(outputs, style) if attention else None

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """x (B, inputs, H, W), embedded (B, E) -> (B, outputs, H', W')."""
        if self.checkpointing and torch.is_grad_enabled():
            # the Dropouts keep their masks, so recomputing needs no generator state
            x = checkpoint(self.compute, x, embedded, use_reentrant=False, preserve_rng_state=False)
            return x
        return self.compute(x, embedded)

    def compute(self, x: Tensor, embedded: Tensor) -> Tensor:
        """`forward` without checkpointing."""
        branch = self.conv0(self.resampled(F.silu(self.norm0(x))))
        branch = self.modulated(branch, self.affine(embedded)[:, :, None, None])
        branch = self.conv1(self.dropout(F.silu(branch)))
        x = self.resampled(x)
        x = scaled(branch + (x if self.skip is None else self.skip(x)), self.style.skip_scale)
        if self.attention is not None:
            x = self.attention(x)
        return x

    def resampled(self, x: Tensor) -> Tensor:
        """x at the resolution of the block's output."""
        return x if self.resample is None else self.resample(x)

    def modulated(self, x: Tensor, offset: Tensor) -> Tensor:
        """x (B, C, H, W), normalized and combined with the embedding (B, C or 2C, 1, 1)."""
        if self.style.adaptive:
            scale, shift = offset.chunk(2, dim=1)
            if self.style.double_norm:
                return torch.addcmul(unit(shift), self.norm1(x), unit(scale))
            return torch.addcmul(shift, self.norm1(x), scale + 1)
        x = self.norm1(x + offset)
        return x


class InputSkip(nn.Module):
    """Residual input skip: halves the resolution of the image branch and adds it to a level's input."""

    def __init__(self, inputs: int, outputs: int, style: Style):
        super().__init__()
        border = len(style.taps) // 2 - 1
        self.conv = Conv(inputs, outputs, 3, style.init, padding=1 + border)
        self.down = Resample(style.taps, up=False, padded=False)
        self.scale = style.skip_scale

    def forward(self, image: Tensor, x: Tensor) -> Tensor:
        """image (B, inputs, 2H, 2W), x (B, outputs, H, W) -> (B, outputs, H, W)."""
        return scaled(x + self.down(self.conv(image)), self.scale)


class Down(nn.Module):
    """One encoder level: halve the resolution (except on the first level), then residual blocks."""

    def __init__(self, shrink: Block | None, input_skip: InputSkip | None, blocks: Sequence[Block]):
        super().__init__()
        self.shrink, self.input_skip = shrink, input_skip
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, embedded: Tensor, skips: list[Tensor], rest: Tensor) -> Pair:
        """Append each output to `skips`; return the last one and the image branch `rest`."""
        if self.shrink is not None:
            x = self.shrink(x, embedded)
            if self.input_skip is not None:
                x = rest = self.input_skip(rest, x)
            skips.append(x)
        for block in self.blocks:
            x = block(x, embedded)
            skips.append(x)
        return x, rest


class Up(nn.Module):
    """One decoder level: double the resolution (except on the lowest level), then blocks that read the skips."""

    def __init__(self, grow: Block | None, blocks: Sequence[Block]):
        super().__init__()
        self.grow = grow
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, embedded: Tensor, skips: list[Tensor]) -> Tensor:
        """Each block removes the last of `skips` and reads it."""
        x = x if self.grow is None else self.grow(x, embedded)
        for block in self.blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), embedded)
        return x
