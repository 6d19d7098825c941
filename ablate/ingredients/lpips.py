"""LPIPS with VGG16: its weights, its network and the distance."""

from __future__ import annotations

import functools
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Literal

import filelock

from ablate.core.errors import SpecError
from ablate.core.files import typed_path
from ablate.core.lazy import torch

FOLDER = "ABLATE_LPIPS_WEIGHTS"  # environment variable: the folder with the two files
FILES = {  # URL, and the first digits of the SHA-256 if the publisher gives it
    "vgg16-397923af.pth": ("https://download.pytorch.org/models/", "397923af"),
    "weights-vgg16-lpips.pth": ("https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/", None),
}
ENDS = (3, 8, 15, 22, 29)  # last layers of VGG16's five stages, before each pooling
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which VGG16 was trained on
PATIENCE = 5.0  # seconds to wait for the server

Pooling = Literal["average", "max"]


def folder() -> Path:
    """The folder of the weights: the one that the environment variable names, else torch hub's cache."""
    if named := os.environ.get(FOLDER):
        return typed_path(named, FOLDER)
    return typed_path(torch.hub.get_dir(), "TORCH_HOME") / "checkpoints"


def require() -> None:
    """Check that the weights exist or can be downloaded. Downloads nothing.

    Raises:
        SpecError: a file is missing, and its server does not answer or the environment variable names the folder.
    """
    for name, (url, _) in FILES.items():
        if not (folder() / name).is_file() and (FOLDER in os.environ or not _reachable(url + name)):
            raise SpecError(_missing(name))


def _missing(name: str) -> str:
    return (
        f"metric: lpips needs {name}, which is not in {folder()}: "
        f"download {FILES[name][0]}{name} into it, or set {FOLDER} to its folder"
    )


@functools.lru_cache(maxsize=8)
def _reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE):
            return True
    except (OSError, urllib.error.URLError):
        return False


def _weights(name: str) -> dict[str, Any]:
    """The tensors of one of the files, which is downloaded if it is missing."""
    file = folder() / name
    if not file.is_file():
        _download(name, file)
    try:
        return dict(torch.load(file, map_location="cpu", weights_only=True, mmap=True))
    except Exception as error:  # torch.load raises nearly anything on a damaged file
        damage = (str(error).splitlines() or [repr(error)])[0][:80]
        raise SpecError(f"metric: lpips: {file}: no readable weights: {damage}") from None


def _download(name: str, file: Path) -> None:
    url, checksum = FILES[name]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{file}.lock"):  # all workers of a sweep may need it at once
            if not file.is_file():
                torch.hub.download_url_to_file(url + name, str(file), checksum, progress=False)
    except (OSError, RuntimeError):
        raise SpecError(_missing(name)) from None


def lpips(device: torch.device, pooling: Pooling) -> Any:
    """The network on a device, built once: x, y (B, 3, H, W) in [-1, 1] -> (B,)."""
    return _built(device, pooling, folder())


@functools.lru_cache(maxsize=4)
def _built(device: torch.device, pooling: Pooling, _folder: Path) -> Any:
    vgg, heads = (_weights(name) for name in FILES)
    return _network(vgg, heads, pooling).to(device)


def _network(vgg: dict[str, Any], heads: dict[str, Any], pooling: Pooling) -> Any:
    """The stages of VGG16 with a head each. It is built on the meta device, so that no random number is drawn."""
    from torch import nn
    from torchvision.models import vgg16

    with torch.device("meta"):
        layers = vgg16(weights=None).features[: ENDS[-1] + 1]
    convolutions = {k.removeprefix("features."): v for k, v in vgg.items() if k.startswith("features.")}
    try:
        layers.load_state_dict(convolutions, assign=True)
        weights = [heads[f"lin{i}.model.1.weight"] for i in range(len(ENDS))]
    except (KeyError, RuntimeError) as error:
        raise SpecError(f"metric: lpips: not the weights of its network: {str(error)[:80]}") from None
    for i, layer in enumerate(layers):
        if pooling == "average" and isinstance(layer, nn.MaxPool2d):
            layers[i] = nn.AvgPool2d(2, 2)
        elif isinstance(layer, nn.ReLU):
            layer.inplace = False  # keeps the ends of the stages
    return _module()(layers, weights).eval().requires_grad_(False)


@functools.cache
def _module() -> type:
    """The class. It inherits from torch's Module, so it is defined only when it is used."""
    from torch import nn

    class Lpips(nn.Module):
        mean: torch.Tensor
        std: torch.Tensor

        def __init__(self, layers: nn.Sequential, heads: list[torch.Tensor]):
            super().__init__()
            self.layers = layers
            self.heads = nn.ParameterList(heads)
            for name, value in (("mean", MEAN), ("std", STD)):
                self.register_buffer(name, torch.tensor(value)[:, None, None])

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            pairs = zip(self.heads, self.stages(x), self.stages(y), strict=True)
            scores = [torch.nn.functional.conv2d((a - b).square(), w).mean((1, 2, 3)) for w, a, b in pairs]
            return torch.stack(scores).sum(0)

        def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
            """Activations of the five stages, normalized per pixel; an all-zero pixel stays 0, with gradient 0."""
            activations, x = [], ((x + 1) / 2 - self.mean) / self.std
            for i, layer in enumerate(self.layers):
                x = layer(x)
                if i in ENDS:
                    activations.append(torch.nn.functional.normalize(x, dim=1, eps=1e-10))
            return activations

    return Lpips
