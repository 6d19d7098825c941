"""torch.compile for the repeated blocks of a network: small graphs compile faster than one large graph."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

REGIONS = ("Block", "InputSkip", "ResnetBlock2D", "Attention")  # ours, then those of diffusers' UNet2DModel
SHAPES = 256  # graphs per block: one for each shape, with and without gradient


def compile_blocks(network: nn.Module, backend: str = "inductor") -> int:
    """Compile the repeated blocks of `network` in place and return their number.

    Parameter names, dropout and its masks do not change: masks are drawn outside and read as inputs. Results differ
    by rounding from those of the uncompiled network, and the first step of each shape waits for the compiler.

    Args:
        backend: of `torch.compile`; `eager` only traces.
    """
    # after eight graphs of one function torch runs the rest uncompiled, without a warning
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, SHAPES)
    blocks = [*_outermost(network)]
    for block in blocks:
        block.compile(backend=backend, dynamic=False)
    return len(blocks)


def _outermost(network: nn.Module) -> Iterator[nn.Module]:
    for child in network.children():
        if type(child).__name__ in REGIONS:
            yield child
        else:
            yield from _outermost(child)
