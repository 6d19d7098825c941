"""Networks of other libraries with the package's call and with dropout that student and teacher can share."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from ablate.core.errors import SpecError
from ablate.networks.dropout import Dropout
from ablate.networks.layers import Encoding


class DiffusersUNet(nn.Module):
    """x (B, C, H, W), c_noise (B,), label (B, classes) or None -> (B, C, H, W), float32, by `UNet2DModel`.

    `embedding` replaces its own time-step encoding. A class is passed as an index; "no label" is the last index.

    Args:
        shape: (C, H, W) of the images.
        classes: number of classes; 0: unconditional.
        embedding: c_noise (B,) -> (B, embedding.channels).
        arguments: further arguments of `UNet2DModel`, including `dropout`.
    Raises:
        ValueError: `UNet2DModel` refuses its arguments.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, embedding: Any, arguments: dict[str, Any]):
        super().__init__()
        library, layers = import_module("diffusers"), import_module("diffusers.models.embeddings")
        channels, height, width = shape
        self.classes = classes
        self.model: Any = library.UNet2DModel(
            sample_size=(height, width),
            in_channels=channels,
            out_channels=channels,
            num_class_embeds=classes + 1 if classes else None,
            **arguments,
        )
        self.model.time_proj = Encoding(embedding)
        inner = 4 * arguments["block_out_channels"][0]
        self.model.time_embedding = layers.TimestepEmbedding(embedding.channels, inner)
        adopt(self.model)

    def forward(self, x: Tensor, c_noise: Tensor, label: Tensor | None = None) -> Tensor:
        """The network's output, which the denoiser scales."""
        output: Tensor = self.model(x, c_noise, class_labels=self.index(x, label)).sample
        return output.float()

    def index(self, x: Tensor, label: Tensor | None) -> Tensor | None:
        """One-hot labels as indices (B,); without a label, or for an all-zero row, the last index."""
        if not self.classes:
            return None
        if label is None:
            return torch.full((len(x),), self.classes, device=x.device)
        if label.ndim != 2 or label.shape[1] != self.classes:
            raise ValueError(f"label: (B, {self.classes}) must hold, but got {tuple(label.shape)}")
        return torch.where(label.any(dim=1), label.argmax(dim=1), self.classes)


def adopt(network: nn.Module, path: str = "network") -> None:
    """Prepare a network of other code for training: a `Dropout` in each place of an `nn.Dropout`, of the same rate.

    Raises:
        SpecError: another dropout of torch, which cannot keep its mask, or no parameter to train; under `path`.
    """
    for name, module in [*network.named_modules(remove_duplicate=False)]:
        if type(module) is nn.Dropout and module.p < 1:
            network.set_submodule(name, Dropout(module.p))
        elif isinstance(module, _DropoutNd) and module.p:
            law = "student and teacher cannot share its masks; use nn.Dropout with p < 1"
            raise SpecError(f"{path}: {name}: {module}: {law}")
    if not any(p.requires_grad for p in network.parameters()):
        raise SpecError(f"{path}: must have a parameter with requires_grad=True, but has none")
