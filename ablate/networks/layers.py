"""Layers with their own initialization, and resampling with a short filter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ablate.core.errors import SpecError


@dataclass(frozen=True)
class Init:
    """Initialization as in EDM: uniform with the variance of `mode`, times a gain.

    Args:
        mode: xavier: variance 2 / (fan_in + fan_out); kaiming: 1 / fan_in.
        weight, bias: gains; with a bias gain of 0 the bias starts at 0.
    """

    mode: Literal["xavier", "kaiming"]
    weight: float = 1.0
    bias: float = 0.0

    @torch.no_grad()
    def __call__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Fill `weight` (out, in, ...) and `bias` (out,) in place from torch's default generator."""
        fan_in, fan_out = weight[0].numel(), weight.shape[0] * weight[0, 0].numel()
        variance = 1 / fan_in if self.mode == "kaiming" else 2 / (fan_in + fan_out)
        bound = math.sqrt(3 * variance)
        weight.uniform_(-bound, bound).mul_(self.weight)
        if bias is not None:
            bias.uniform_(-bound, bound).mul_(self.bias)


class Linear(nn.Linear):
    """Linear layer, initialized by `init`."""

    def __init__(self, inputs: int, outputs: int, init: Init, bias: bool = True):
        self.init = init  # before the parent's constructor, which calls reset_parameters
        super().__init__(inputs, outputs, bias=bias)

    def reset_parameters(self) -> None:
        self.init(self.weight, self.bias)


class Conv(nn.Conv2d):
    """Convolution of kernel size 1 or 3 that keeps height and width, initialized by `init`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, init: Init, padding: int | None = None):
        self.init = init
        super().__init__(inputs, outputs, kernel, padding=kernel // 2 if padding is None else padding)

    def reset_parameters(self) -> None:
        self.init(self.weight, self.bias)


class Norm(nn.GroupNorm):
    """Group norm with at most 32 groups of at least four channels each."""

    def __init__(self, channels: int, eps: float):
        limit = min(32, max(1, channels // 4))
        super().__init__(max(g for g in range(1, limit + 1) if channels % g == 0), channels, eps=eps)


class Encoding(nn.Module):
    """An embedding ingredient as a module, with its frequencies as a buffer if the embedding is `stored`."""

    frequencies: Tensor | None

    def __init__(self, embedding: Any):
        super().__init__()
        self.embedding, drawn = embedding, None
        if getattr(embedding, "stored", False):
            values = embedding.frequencies(torch.device("cpu"))
            drawn = torch.empty(values.shape).copy_(values)  # on the default device, which may be meta
        self.register_buffer("frequencies", drawn)

    def forward(self, c_noise: Tensor) -> Tensor:
        """c_noise (B,) -> (B, E)."""
        given = () if self.frequencies is None else (self.frequencies,)
        embedded: Tensor = (self.embedding.features if given else self.embedding)(c_noise, *given)
        return embedded


class Resample(nn.Module):
    """Halves or doubles the height and width of (B, C, H, W) with a separable filter of even length.

    Args:
        taps: (1, 1) averages 2 x 2 pixels or repeats pixels; any other filter blurs, with zero padding.
        up: True doubles, False halves.
        padded: False: the caller has added the border already, len(taps) // 2 - 1 wide.
    """

    kernel: Tensor

    def __init__(self, taps: tuple[int, ...], up: bool, padded: bool = True):
        super().__init__()
        self.up, self.taps, self.padding = up, taps, (len(taps) // 2 - 1) * padded
        row = torch.tensor(taps, dtype=torch.float32) / sum(taps)
        self.register_buffer("kernel", row.outer(row)[None, None] * (4 if up else 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H / 2, W / 2) or (B, C, 2H, 2W)."""
        if self.taps == (1, 1):
            return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.up else F.avg_pool2d(x, 2)
        kernel = self.kernel.expand(x.shape[1], 1, -1, -1)  # one filter for every channel
        convolve = F.conv_transpose2d if self.up else F.conv2d
        return convolve(x, kernel, stride=2, padding=self.padding, groups=x.shape[1])


def seed_parameters(network: nn.Module, seed_for: Callable[[str], int]) -> None:
    """Initialize `network` again, every module from its own stream.

    Modules with the same name and shapes start equal in any two networks, whatever else the networks contain and in
    whatever order they were built. The state of the default generator does not change.

    Args:
        network: a module with parameters on the CPU.
        seed_for: a module's dotted name -> seed.
    Raises:
        SpecError: parameters on another device, whose generator draws other values.
    """
    elsewhere = {p.device.type for p in network.parameters()} - {"cpu"}
    if elsewhere:
        raise SpecError(f"seed_parameters: parameters must be on cpu, but got {', '.join(sorted(elsewhere))}")
    generator, state = torch.default_generator, torch.get_rng_state()
    for name, module in network.named_modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            generator.manual_seed(seed_for(name))
            reset()
    torch.set_rng_state(state)
