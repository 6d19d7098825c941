"""One U-Net for the three networks of the EDM family (Karras et al. 2022, arXiv 2206.00364, appendix F).

`ncsnpp`, `ddpmpp` and `adm` differ only in the fields of their `Style`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ablate.networks.blocks import Block, Down, InputSkip, Size, Style, Up
from ablate.networks.layers import Conv, Encoding, Init, Linear, Norm, Resample

EMBEDDING_WIDTH = 4  # times the network's width
XAVIER, KAIMING = Init("xavier"), Init("kaiming", math.sqrt(1 / 3), math.sqrt(1 / 3))
DDPMPP = Style(
    taps=(1, 1),
    input_skips=False,
    skip_scale=math.sqrt(1 / 2),
    adaptive=False,
    double_norm=False,
    skip_projection=True,
    attention_up=False,
    head_channels=None,
    eps=1e-6,
    init=XAVIER,
    init_attention=Init("xavier", math.sqrt(0.2)),
    label_last=False,
    first_multiplied=False,
)
NCSNPP = replace(DDPMPP, taps=(1, 3, 3, 1), input_skips=True)
ADM = Style(
    taps=(1, 1),
    input_skips=False,
    skip_scale=1.0,
    adaptive=True,
    double_norm=False,
    skip_projection=False,
    attention_up=True,
    head_channels=64,
    eps=1e-5,
    init=KAIMING,
    init_attention=KAIMING,
    label_last=True,
    first_multiplied=True,
)


class Condition(nn.Module):
    """c_noise, label and c_until -> (B, 4 width), the embedding that all blocks read."""

    def __init__(self, embedding: Any, width: int, classes: int, style: Style):
        super().__init__()
        self.embedding, self.classes, self.label_last = Encoding(embedding), classes, style.label_last
        inner, outer = embedding.channels, EMBEDDING_WIDTH * width
        self.layer0, self.layer1 = Linear(inner, outer, style.init), Linear(outer, outer, style.init)
        # a one-hot row has mean square 1 / classes: the initialization or the input compensates for it
        self.gain = 1.0 if style.label_last else math.sqrt(classes)
        init = Init(style.init.mode, math.sqrt(classes) if style.label_last else 1.0)
        width = outer if style.label_last else inner
        self.label = Linear(classes, width, init, bias=False) if classes else None
        self.second_level = style.second_level
        self.second = Linear(inner, outer, style.init, bias=False) if style.second_level else None

    def forward(self, c_noise: Tensor, label: Tensor | None, c_until: Tensor | None = None) -> Tensor:
        """c_noise (B,), label (B, classes) or None -> (B, 4 width); ValueError for a label of another shape.

        c_until: (B,), of the second level; None: it is the level itself.
        """
        embedded, class_term = self.embedding(c_noise), self.class_term(label)
        end_term = self.end_term(c_noise, c_noise if c_until is None else c_until)
        if self.label_last:
            return F.silu(self.layer1(F.silu(self.layer0(embedded) + end_term)) + class_term)
        return F.silu(self.layer1(F.silu(self.layer0(embedded + class_term) + end_term)))

    def end_term(self, c_noise: Tensor, c_until: Tensor) -> Tensor | float:
        """The second level's contribution to the first layer; 0 for a network with one level."""
        if self.second is None:
            return 0.0
        term: Tensor = self.second(
            self.embedding(c_noise - c_until if self.second_level == "gap" else c_until)
        )
        return term

    def class_term(self, label: Tensor | None) -> Tensor | float:
        """The label's contribution to the embedding; 0 without a label."""
        if label is None:
            return 0.0
        if label.ndim != 2 or label.shape[1] != self.classes:
            raise ValueError(f"label: (B, {self.classes}) must hold, but got {tuple(label.shape)}")
        return 0.0 if self.label is None else self.label(label.to(self.label.weight.dtype) * self.gain)


class UNet(nn.Module):
    """x (B, C, H, W), c_noise (B,), label (B, classes) or None, c_until (B,) or None -> (B, C, H, W), float32.

    Args:
        shape: (C, H, W) of the images.
        classes: number of classes; 0: unconditional.
        embedding: c_noise (B,) -> (B, embedding.channels).
        style, size: the member of the family and its size.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, embedding: Any, style: Style, size: Size):
        super().__init__()
        levels = range(len(size.multipliers))
        self.condition = Condition(embedding, size.width, classes, style)
        plan = Plan(shape, style, size)
        self.first = Conv(shape[0], plan.channels, 3, style.init)
        self.down = nn.ModuleList(plan.down(level) for level in levels)
        self.middle = nn.ModuleList([plan.block(plan.channels, attends=True), plan.block(plan.channels)])
        self.up = nn.ModuleList(plan.up(level) for level in reversed(levels))
        self.norm = Norm(plan.channels, style.eps)
        self.last = Conv(plan.channels, shape[0], 3, style.init_last)

    def forward(
        self, x: Tensor, c_noise: Tensor, label: Tensor | None = None, c_until: Tensor | None = None
    ) -> Tensor:
        """The network's output, which the denoiser scales."""
        embedded = self.condition(c_noise, label, c_until)
        image, x = x, self.first(x)
        skips = [x]
        for level in self.down:
            x, image = level(x, embedded, skips, image)
        for block in self.middle:
            x = block(x, embedded)
        for level in self.up:
            x = level(x, embedded, skips)
        output: Tensor = self.last(F.silu(self.norm(x)))
        return output.float()


class Plan:
    """Builds the levels in the order of the forward pass and counts their channels."""

    def __init__(self, shape: tuple[int, int, int], style: Style, size: Size):
        self.style, self.size, self.shape = style, size, shape
        self.image = shape[0]
        self.channels = size.width * (size.multipliers[0] if style.first_multiplied else 1)
        self.skips = [self.channels]

    def block(self, outputs: int, resample: Resample | None = None, attends: bool = False) -> Block:
        """The next block; its output has `outputs` channels."""
        inputs, self.channels = self.channels, outputs
        embedded = EMBEDDING_WIDTH * self.size.width
        return Block(inputs, outputs, embedded, self.style, self.size, resample, attends)

    def down(self, level: int) -> Down:
        """Encoder level `level`; level 0 has the resolution of the image."""
        shrink, skip, style = None, None, self.style
        if level:
            shrink = self.block(self.channels, Resample(style.taps, up=False))
            if style.input_skips:
                skip, self.image = InputSkip(self.image, self.channels, style), self.channels
            self.skips.append(self.channels)
        blocks = []
        for _ in range(self.size.blocks):
            blocks.append(self.block(self.outputs(level), attends=self.attends(level)))
            self.skips.append(self.channels)
        return Down(shrink, skip, blocks)

    def up(self, level: int) -> Up:
        """Decoder level `level`."""
        lowest, count = level == len(self.size.multipliers) - 1, self.size.blocks + 1
        grow = None if lowest else self.block(self.channels, Resample(self.style.taps, up=True))
        blocks = []
        for i in range(count):
            self.channels += self.skips.pop()
            attends = self.attends(level) and (self.style.attention_up or i == count - 1)
            blocks.append(self.block(self.outputs(level), attends=attends))
        return Up(grow, blocks)

    def outputs(self, level: int) -> int:
        return self.size.width * self.size.multipliers[level]

    def attends(self, level: int) -> bool:
        """Whether the level's shorter side is one of the attention resolutions."""
        return min(self.shape[1:]) >> level in self.size.attention
