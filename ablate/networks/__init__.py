"""U-Nets of the EDM family, networks of other libraries, and the dropout that student and teacher share."""

from __future__ import annotations

from ablate.networks.blocks import Size, Style
from ablate.networks.compiled import compile_blocks
from ablate.networks.dropout import Dropout, draw_masks, teacher_copy
from ablate.networks.layers import seed_parameters
from ablate.networks.unet import ADM, DDPMPP, NCSNPP, UNet

__all__ = [
    "ADM",
    "DDPMPP",
    "NCSNPP",
    "Dropout",
    "Size",
    "Style",
    "UNet",
    "compile_blocks",
    "draw_masks",
    "seed_parameters",
    "teacher_copy",
]
