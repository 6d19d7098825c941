"""EDM's and ECT's networks: SongUNet (`ddpmpp`, `ncsnpp`) and DhariwalUNet (`adm`). Source: github.com/NVlabs/edm."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from ablate.checkpoints.layout import SWAP_COLUMNS, SWAP_ROWS, Architecture, Family, Layout, heads_first
from ablate.checkpoints.reader import Tensors
from ablate.config.recipe import Recipe
from ablate.core.errors import SpecError
from ablate.ingredients.embedding import frequencies
from ablate.networks.unet import ADM, DDPMPP, EMBEDDING_WIDTH, NCSNPP

STYLES = {"ncsnpp": NCSNPP, "ddpmpp": DDPMPP, "adm": ADM}
HEAD_CHANNELS = 64  # of DhariwalUNet, fixed there
SCALE = 16.0  # of NCSN++'s frequencies
PREFIX = "model."  # of the network inside EDMPrecond
PARTS = {"attention.norm": "norm2", "attention.qkv": "qkv", "attention.last": "proj"}


class EDM(Family):
    """EDM (Karras et al. 2022) and ECT (Geng et al. 2024)."""

    name = "EDM"
    wrappers = {
        "EDMPrecond": "denoiser",
        "ECMPrecond": "consistency",
        "SongUNet": "denoiser",
        "DhariwalUNet": "denoiser",
    }
    inputs = {
        "noise_precond": "edm",
        "input_precond": "cm",
        "parameterization": {"name": "script", "scale_out": True, "subtract_min": False},
    }

    def recognizes(self, tensors: Tensors, config: Mapping[str, Any]) -> bool:
        return any(re.fullmatch(r"(model\.)?map_layer0\.weight", name) for name in tensors)

    def described(self, tensors: Tensors, config: Mapping[str, Any], resolution: int | None) -> Architecture:
        plain = _bare(tensors)
        sides = sorted({int(r) for n in plain for r in re.findall(r"^enc\.(\d+)x\1_", n)}, reverse=True)
        first = plain.get(f"enc.{sides[0]}x{sides[0]}_conv.weight") if sides else None
        if first is None or first.ndim != 4:
            raise SpecError("has no first convolution enc.*_conv")
        if resolution not in (None, sides[0]):
            raise SpecError(f"--resolution {resolution}: these weights are for {sides[0]} pixels")
        rows, channels = plain["map_layer0.weight"].shape
        width, adm = rows // EMBEDDING_WIDTH, "out_norm.weight" in plain
        residual = any(n.endswith("_aux_residual.weight") for n in plain)
        network = {
            "name": "adm" if adm else "ncsnpp" if residual else "ddpmpp",
            "width": width,
            "multipliers": [_multiplier(plain, f"enc.{r}x{r}_block0.conv1.weight", width) for r in sides],
            "blocks": max(
                1, sum(bool(re.match(rf"enc\.{sides[0]}x\d+_block\d+\.norm0\.weight", n)) for n in plain)
            ),
            "attention": [r for r in sides if f"enc.{r}x{r}_block0.qkv.weight" in plain],
        }
        embedding: dict[str, Any] = {"name": "positional", "channels": channels, "endpoint": not adm}
        if (freqs := plain.get("map_noise.freqs")) is not None:
            embedding = {"name": "fourier", "channels": channels, **_scale(freqs.float())}
        label = plain.get("map_label.weight")
        shape = (first.shape[1], sides[0], sides[0])
        return Architecture(network, embedding, shape, 0 if label is None else label.shape[1])

    def layout(self, network: Architecture) -> Layout:
        side, levels = network.shape[1], network.levels
        adm = network.network["name"] == "adm"
        places = {
            "condition": "",
            "condition.embedding.frequencies": "map_noise.freqs",
            "first": f"enc.{side}x{side}_conv",
        }
        for level in range(levels):
            r, up = side >> level, f"up.{levels - 1 - level}"
            here, back = f"enc.{r}x{r}", f"dec.{r}x{r}"
            places |= {f"down.{level}.shrink": f"{here}_down", f"{up}.grow": f"{back}_up"}
            places |= {f"down.{level}.input_skip.conv": f"{here}_aux_residual"}
            places |= {f"down.{level}.blocks.{i}": f"{here}_block{i}" for i in range(network.blocks)}
            places |= {f"{up}.blocks.{i}": f"{back}_block{i}" for i in range(network.blocks + 1)}
        lowest, out = side >> (levels - 1), f"dec.{side}x{side}_aux"
        places |= {f"middle.{i}": f"dec.{lowest}x{lowest}_in{i}" for i in range(2)}
        places |= (
            {"norm": "out_norm", "last": "out_conv"}
            if adm
            else {"norm": f"{out}_norm", "last": f"{out}_conv"}
        )
        qkv = heads_first(HEAD_CHANNELS if adm else None)
        changes = {f"attention.qkv.{kind}": qkv for kind in ("weight", "bias")}
        if not adm:
            changes |= {"condition.layer0.weight": SWAP_COLUMNS, "condition.label.weight": SWAP_ROWS}
        named = {"layer0": "map_layer0", "layer1": "map_layer1", "label": "map_label"}
        return Layout(places, {**PARTS, **named}, changes)

    def reduced(
        self, tensors: Tensors, network: Architecture, config: Mapping[str, Any]
    ) -> tuple[Tensors, list[str]]:
        found, dropped = dict(_bare(tensors)), []
        taps = STYLES[network.network["name"]].taps
        filters = [n for n in found if n.endswith("resample_filter")]
        for name in filters:
            if (size := found.pop(name).shape[-1]) != len(taps):
                kind = network.network["name"]
                raise SpecError(f"the tensor {name!r} has {size} taps, but {kind} resamples with {len(taps)}")
        if filters:
            dropped.append(f"{len(filters)} resample_filter buffers: constants of the architecture")
        if found.pop("map_augment.weight", None) is not None:
            dropped.append("map_augment.weight: unused without augmentation labels")
        bias = found.pop("map_label.bias", None)
        if bias is not None and not network.classes:
            raise SpecError("the tensor 'map_label.weight' is missing")
        layer0 = [found.get(f"map_layer0.{kind}") for kind in ("weight", "bias")]
        if bias is not None and layer0[0] is not None and layer0[1] is not None:
            if bias.shape != layer0[0].shape[1:]:
                raise SpecError(f"the tensor 'map_label.bias' has the shape {tuple(bias.shape)}")
            # EDM adds it to the embedding of every input, also of one without a label
            found["map_layer0.bias"] = layer0[1].float() + layer0[0].float() @ bias.float()
            dropped.append("map_label.bias: added to the first layer's bias")
        if network.embedding["name"] == "fourier" and not network.embedding["stored"]:
            del found["map_noise.freqs"]
            dropped.append("map_noise.freqs: those that the embedding draws")
        return found, dropped

    def added(self, network: Architecture, tensors: Tensors) -> Tensors:
        taps = torch.tensor(STYLES[network.network["name"]].taps, dtype=torch.float32)
        kernel = (taps.outer(taps) / taps.sum() ** 2)[None, None]
        resampled = [n for n in tensors if re.search(r"_(down|up)\.conv0\.weight$", n)]
        names = [n.replace("conv0.weight", part) for n in resampled for part in ("conv0", "skip")]
        names += [n.removesuffix(".weight") for n in tensors if n.endswith("_aux_residual.weight")]
        found = {f"{name}.resample_filter": kernel.clone() for name in names}
        e = network.embedding
        if e["name"] == "fourier" and not e.get("stored"):
            found["map_noise.freqs"] = frequencies(e["channels"], e["scale"], torch.device("cpu")).clone()
        if network.classes and network.network["name"] != "adm":
            found["map_label.bias"] = torch.zeros(e["channels"])
        return found

    def written(self, network: Architecture, ours: Tensors) -> Tensors:
        return {PREFIX + name: tensor for name, tensor in super().written(network, ours).items()}


def _bare(tensors: Tensors) -> Tensors:
    """The names of the network inside its preconditioning."""
    inside = {n.removeprefix(PREFIX): t for n, t in tensors.items() if n.startswith(PREFIX)}
    return {**inside, **{n: t for n, t in tensors.items() if not n.startswith(PREFIX)}}


def _multiplier(tensors: Tensors, name: str, width: int) -> int:
    if name not in tensors:
        raise SpecError(f"the tensor {name!r} is missing")
    channels = tensors[name].shape[0]
    if not width or channels % width:
        raise SpecError(f"the tensor {name!r} has {channels} channels, no multiple of the width {width}")
    return channels // width


def _scale(freqs: torch.Tensor) -> dict[str, Any]:
    """Whether the frequencies are those that the embedding draws, and their scale."""
    unit = frequencies(2 * len(freqs), 1.0, torch.device("cpu"))
    scale = float(f"{float(freqs[0] / unit[0]):.6g}")
    drawn = scale > 0 and torch.equal(freqs, unit * scale)
    return {"scale": scale if drawn else SCALE, "stored": not drawn}


def state_dict(recipe: Recipe, shape: tuple[int, int, int], classes: int, weights: Tensors) -> Tensors:
    """The weights of a cell as the state dict of an EDMPrecond.

    Raises:
        SpecError: EDM has no such network; all fields that must change, in one line.
    """
    specs, fields = recipe.specs(), recipe.flat()
    name, channels = recipe.network.name, fields.get("embedding.channels")
    wanted = dict[str, Any](network=name if name in STYLES else " or ".join(STYLES))
    if name in STYLES:
        positional = recipe.embedding.name == "positional"
        wanted |= {"embedding": "positional" if positional or name == "adm" else "fourier"}
        wanted |= (
            {"embedding.endpoint": name != "adm", "embedding.max_positions": 10000} if positional else {}
        )
        width = recipe.network.width
        wanted |= {"embedding.channels": width} if name == "adm" or (channels or 0) % width else {}
        wanted |= {"network.head_channels": HEAD_CHANNELS} if name == "adm" else {}
        wanted |= {"network.divide_by_sigma": False} if name == "ncsnpp" else {}
        wanted |= {"network.double_norm": False, "network.second_level": None}
    wanted |= {"noise_precond": "edm", "input_precond": "cm", "input_precond.sigma_data": 0.5}
    pairs = [(field, value, fields.get(field)) for field, value in wanted.items()]
    unmet = [f"{field} must be {value}, but is {found}" for field, value, found in pairs if found != value]
    unmet += [f"the images must be square, but are {shape[2]}x{shape[1]}"] if shape[1] != shape[2] else []
    if unmet:
        raise SpecError("; ".join(unmet))
    return EDM().written(Architecture(specs["network"], specs["embedding"], shape, classes), weights)
