"""torch.compile of what a network repeats: small graphs, compiled sooner than one large one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

REGIONS = ("Block", "InputSkip", "ResnetBlock2D", "Attention")  # ours, then those of diffusers' UNet2DModel
SHAPES = 256  # graphs that a block's code may have: one for each shape, with and without a gradient


def compile_blocks(network: nn.Module, backend: str = "inductor") -> int:
    """Let the repeated blocks of `network` run compiled, in place; how many there are.

    Names of parameters, dropout and its masks stay as they are: a mask is drawn outside and read as an input. Sums are
    rounded otherwise than without, and the first step of every shape waits for the compiler.

    Args:
        backend: of `torch.compile`; `eager` traces alone.
    """
    # torch gives up after eight graphs of one function, and without a word computes the rest uncompiled
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, SHAPES)
    found = [*_outermost(network)]
    for block in found:
        block.compile(backend=backend, dynamic=False)
    return len(found)


def _outermost(network: nn.Module) -> Iterator[nn.Module]:
    for child in network.children():
        if type(child).__name__ in REGIONS:
            yield child
        else:
            yield from _outermost(child)
