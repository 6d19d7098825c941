"""The exports of this project, whose names need no change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.checkpoints.layout import FED, Architecture, Family, Layout
from ablate.checkpoints.reader import Tensors
from ablate.core.errors import SpecError


class Own(Family):
    """A folder that `export` wrote."""

    name = "ablate"
    predicts = "consistency"

    def recognizes(self, tensors: Tensors, config: Mapping[str, Any]) -> bool:
        return "specs" in config and "image_shape" in config

    def described(self, tensors: Tensors, config: Mapping[str, Any], resolution: int | None) -> Architecture:
        try:
            network, embedding = (dict(config["specs"][axis]) for axis in ("network", "embedding"))
            channels, height, width = map(int, config["image_shape"])
            labels = (t for n, t in tensors.items() if n == "condition.label.weight")
            classes = next((t.shape[1] for t in labels), 0)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise SpecError(f"config.json: not of an export: {' '.join(str(error).split())[:100]}") from None
        if network.get("name") == "module":
            raise SpecError("a network of your own code needs no conversion: give the folder to init_from")
        return Architecture(network, embedding, (channels, height, width), classes)

    def layout(self, network: Architecture) -> Layout:
        return Layout({"": ""})

    def fed(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return {axis: config["specs"][axis] for axis in FED if axis in config["specs"]}
