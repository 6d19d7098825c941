"""Folders of diffusers' UNet2DModel as `unet2d`. Source: github.com/huggingface/diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.checkpoints.layout import SWAP_COLUMNS, Architecture, Family, Layout
from ablate.checkpoints.reader import Tensors
from ablate.core.errors import SpecError
from ablate.core.registry import AXES

SCHEDULER = "CMStochasticIterativeScheduler"  # of networks that are fed as `noise_precond: cm` says
# the library's fields that decide what a network computes, with the only value that `unet2d` builds
FIXED: dict[str, Any] = {
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "act_fn": "silu",
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_class_embeds": None,
    "num_train_timesteps": None,
}
NEEDED = ("block_out_channels", "layers_per_block", "down_block_types", "up_block_types")
SIZES = (*NEEDED, "attention_head_dim", "norm_num_groups")


class Diffusers(Family):
    """diffusers' UNet2DModel: `config.json` with safetensors or a `.bin` beside it."""

    name = "diffusers"
    predicts = "consistency"
    inputs = {"noise_precond": "cm", "input_precond": "cm", "parameterization": "cm"}

    def fed(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.inputs if config.get("scheduler") in (None, SCHEDULER) else {}

    def recognizes(self, tensors: Tensors, config: Mapping[str, Any]) -> bool:
        return config.get("_class_name") == "UNet2DModel"

    def described(self, tensors: Tensors, config: Mapping[str, Any], resolution: int | None) -> Architecture:
        fields = AXES["network"].fields("unet2d")
        theirs = {
            **FIXED,
            "freq_shift": 0,
            "flip_sin_to_cos": True,
            "in_channels": 3,
            "out_channels": 3,
            **config,
        }
        for name, value in {**FIXED, "out_channels": theirs["in_channels"]}.items():
            if theirs[name] != value:
                raise SpecError(f"config.json: {name}: unet2d needs {value!r}, but it is {theirs[name]!r}")
        if missing := [name for name in NEEDED if name not in config]:
            raise SpecError(f"config.json: {missing[0]}: needs a value")
        if theirs["freq_shift"] not in (0, 1):
            raise SpecError(f"config.json: freq_shift: needs 0 or 1, but it is {theirs['freq_shift']!r}")
        side = resolution or config.get("sample_size")
        if side is None:
            raise SpecError("config.json has no sample_size: add --resolution")
        height, width = side if isinstance(side, list) else (side, side)
        network = {"name": "unet2d", **{name: config.get(name, fields[name]) for name in SIZES}}
        embedding = {
            "name": "positional",
            "channels": config["block_out_channels"][0],
            "endpoint": theirs["freq_shift"] == 1,
        }
        return Architecture(network, embedding, (theirs["in_channels"], height, width), 0)

    def layout(self, network: Architecture) -> Layout:
        return Layout({"model": ""})

    def reduced(
        self, tensors: Tensors, network: Architecture, config: Mapping[str, Any]
    ) -> tuple[Tensors, list[str]]:
        name, found = "time_embedding.linear_1.weight", dict(tensors)
        if not config.get("flip_sin_to_cos", True) and name in found:
            found[name] = SWAP_COLUMNS.read(found[name])
        return found, []
