"""Streams of random numbers that depend on (seed, purpose, step, index) and the type of device only.

Two cells with the same seed draw the same numbers for the same purpose, whatever else differs between them. A resumed
run draws what an uninterrupted one would have drawn, and so does every rank of a distributed run.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from ablate.core.lazy import torch

Purpose = Literal[
    "init", "data", "flip", "level", "until", "noise", "dropout", "teacher_dropout", "sampling", "label"
]


def number(seed: int, purpose: str, *place: int | str) -> int:
    """A 63-bit number that depends on all arguments."""
    text = "/".join(map(str, (seed, purpose, *place)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def stream(
    seed: int, purpose: Purpose, *place: int | str, device: torch.device | str = "cpu"
) -> torch.Generator:
    """The generator of one purpose at one place (a step, an epoch, a chunk of samples)."""
    return torch.Generator(device=device).manual_seed(number(seed, purpose, *place))
