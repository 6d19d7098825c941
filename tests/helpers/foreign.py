"""Networks of ours, and files that look like other projects' checkpoints of them."""

from __future__ import annotations

import pickle
import sys
import types

import torch
from torch import nn

from ablate.checkpoints.layout import Architecture
from ablate.core.registry import AXES, values

POSITIONAL = {"name": "positional", "channels": 16, "endpoint": True}
TINY = {"width": 16, "multipliers": [1, 2], "blocks": 1, "attention": [4]}
SHAPE = (3, 8, 8)


def architecture(name="ddpmpp", classes=0, embedding=POSITIONAL, shape=SHAPE, **fields):
    """A tiny network with every field in its specs."""
    size = {} if name == "unet2d" else TINY
    parts = {
        "network": AXES["network"].build({"name": name, **size, **fields}),
        "embedding": AXES["embedding"].build(embedding),
    }
    specs = {axis: {"name": part.name, **values(part)} for axis, part in parts.items()}
    return Architecture(specs["network"], specs["embedding"], shape, classes)


def network(made, seed=0):
    """The network of an architecture with random weights, none of them zero."""
    torch.manual_seed(seed)
    built = made.option()(made.shape, made.classes).eval()
    for p in built.parameters():
        nn.init.normal_(p, std=0.2)
    return built


def modules(tensors):
    """A state dict as nested plain modules, which pickle like those of a foreign project."""
    root = nn.Module()
    for name, tensor in tensors.items():
        *places, last = name.split(".")
        parent = root
        for place in places:
            if place not in parent._modules:
                parent.add_module(place, nn.Module())
            parent = parent._modules[place]
        if last in ("freqs", "resample_filter"):
            parent.register_buffer(last, tensor)
        else:
            parent.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
    return root


def persistent(path, tensors, wrapper="EDMPrecond", source="raise SystemExit('this code ran')", **entries):
    """A pickle as EDM's `torch_utils.persistence` writes: a network that carries its own source code."""
    home = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("foreign code")

    _reconstruct_persistent_obj.__module__ = home.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    home._reconstruct_persistent_obj = _reconstruct_persistent_obj
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": wrapper}
    meta["state"] = modules(tensors).__dict__

    class Pickled:
        def __reduce__(self):
            return _reconstruct_persistent_obj, (meta,), None

    sys.modules |= {"torch_utils": types.ModuleType("torch_utils"), home.__name__: home}
    try:
        path.write_bytes(pickle.dumps({"ema": Pickled(), **entries}))
    finally:
        del sys.modules["torch_utils"], sys.modules[home.__name__]
    return path
