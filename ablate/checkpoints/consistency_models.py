"""The UNetModel of Consistency Models and guided-diffusion as `adm`. Source: github.com/openai/consistency_models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ablate.checkpoints.layout import TRANSPOSE, Architecture, Family, Layout
from ablate.checkpoints.reader import Tensors
from ablate.core.errors import SpecError
from ablate.networks.layers import Norm
from ablate.networks.unet import EMBEDDING_WIDTH

PARTS = {
    "norm0": "in_layers.0",
    "conv0": "in_layers.2",
    "affine": "emb_layers.1",
    "norm1": "out_layers.0",
    "conv1": "out_layers.3",
    "skip": "skip_connection",
    "last": "proj_out",  # of attention, whose other names are the same
}
GROUPS = 32  # of every group norm there


class ConsistencyModels(Family):
    """Consistency Models (Song et al. 2023): `cd_*`, `ct_*`, and the EDM networks that they started from."""

    name = "Consistency Models"
    predicts = "consistency"
    inputs = {"noise_precond": "cm", "input_precond": "cm", "parameterization": "cm"}

    def recognizes(self, tensors: Tensors, config: Mapping[str, Any]) -> bool:
        return "time_embed.0.weight" in tensors and "input_blocks.0.0.weight" in tensors

    def described(self, tensors: Tensors, config: Mapping[str, Any], resolution: int | None) -> Architecture:
        if conv := next(
            (n for n in tensors if re.fullmatch(r"(in|out)put_blocks\.\d+\.\d\.(op|conv)\.weight", n)), None
        ):
            raise SpecError(f"the tensor {conv!r}: only networks with resblock_updown are known here")
        if resolution is None:
            raise SpecError("the file does not say for which images it is: add --resolution, such as 64")
        first, channels = tensors["input_blocks.0.0.weight"], tensors["time_embed.0.weight"].shape[1]
        if "out.2.weight" in tensors and len(tensors["out.2.weight"]) == 2 * first.shape[1]:
            raise SpecError("the network predicts a variance too (learn_sigma), and no network here does")
        count = len({n.split(".")[1] for n in tensors if n.startswith("input_blocks.")})
        ends = [
            int(m[1])
            for n in tensors
            if (m := re.match(r"output_blocks\.(\d+)\.[12]\.in_layers\.0\.weight", n))
        ]
        per_level = 1 + min(ends, default=count - 1)
        width, levels = channels, count // per_level
        starts = [1 + level * per_level for level in range(levels)]
        outputs = []
        for start in starts:
            name = f"input_blocks.{start}.0.out_layers.3.weight"
            if name not in tensors or tensors[name].shape[0] % width:
                raise SpecError(f"the tensor {name!r} is missing or no multiple of the width {width}")
            outputs.append(tensors[name].shape[0] // width)
        if len(tensors["time_embed.0.weight"]) != EMBEDDING_WIDTH * width or resolution % 2 ** (levels - 1):
            raise SpecError(
                f"width {width} and {levels} levels do not fit its time_embed or --resolution {resolution}"
            )
        if narrow := [c for c in sorted({width * m for m in outputs}) if Norm(c, 1e-5).num_groups != GROUPS]:
            raise SpecError(
                f"{narrow[0]} channels are normalized in {GROUPS} groups there, in fewer here: 128 or more fit"
            )
        network = {
            "name": "adm",
            "width": width,
            "multipliers": outputs,
            "blocks": per_level - 1,
            "attention": [
                resolution >> level
                for level, start in enumerate(starts)
                if f"input_blocks.{start}.1.qkv.weight" in tensors
            ],
        }
        label = tensors.get("label_emb.weight")
        shape = (first.shape[1], resolution, resolution)
        embedding = {"name": "positional", "channels": channels}
        return Architecture(network, embedding, shape, 0 if label is None else len(label))

    def layout(self, network: Architecture) -> Layout:
        per_level, levels = network.blocks + 1, network.levels
        places = {
            "condition.layer0": "time_embed.0",
            "condition.layer1": "time_embed.2",
            "norm": "out.0",
            "last": "out.2",
        }
        places |= {"condition.label": "label_emb", "first": "input_blocks.0.0"}
        places |= {
            "middle.0": "middle_block.0",
            "middle.0.attention": "middle_block.1",
            "middle.1": "middle_block.2",
        }
        for level in range(levels):
            start, up = 1 + level * per_level, level * per_level
            places[f"down.{level}.shrink"] = f"input_blocks.{start - 1}.0"
            for i in range(network.blocks):
                places |= _pair(f"down.{level}.blocks.{i}", f"input_blocks.{start + i}")
            for i in range(per_level):
                places |= _pair(f"up.{level}.blocks.{i}", f"output_blocks.{up + i}")
            attends = network.shape[1] >> (levels - 1 - level) in network.network["attention"]
            places[f"up.{level + 1}.grow"] = f"output_blocks.{up + network.blocks}.{1 + attends}"
        return Layout(places, PARTS, {"condition.label.weight": TRANSPOSE})

    def reduced(
        self, tensors: Tensors, network: Architecture, config: Mapping[str, Any]
    ) -> tuple[Tensors, list[str]]:
        """Attention of guided-diffusion is a convolution over a line of pixels, whose kernel has one axis less."""
        flat = {
            n: t[..., None]
            for n, t in tensors.items()
            if re.search(r"\.(qkv|proj_out)\.weight$", n) and t.ndim == 3
        }
        return {**tensors, **flat}, []


def _pair(ours: str, theirs: str) -> dict[str, str]:
    """A block and its attention, which is a module beside it there."""
    return {ours: f"{theirs}.0", f"{ours}.attention": f"{theirs}.1"}
