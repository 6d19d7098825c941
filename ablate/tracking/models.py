"""Saves a finished cell's consistency function as an MLflow model: a traced graph with weights, without pickle."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablate.inference.model import Model
from ablate.training.denoiser import Denoiser, one_hot


class Function(torch.nn.Module):
    """f of a cell as a module: x (B, C, H, W), sigma (B,) in float64, and label (B, classes) if it has classes."""

    def __init__(self, f: Denoiser):
        super().__init__()
        self.f, self.network = f, f.network

    def forward(
        self, x: torch.Tensor, sigma: torch.Tensor, label: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The estimate of the clean images (B, C, H, W) of x at noise level sigma."""
        return self.f(x, sigma, label)


def save(mlflow: Any, model: Model, folder: Path) -> None:
    """Write a model that `mlflow.pytorch.load_model` reads into `folder`; it accepts batches of any size."""
    function, example = Function(model.f).eval(), _example(model)
    spec = mlflow.types.TensorSpec
    inputs = [spec(t.numpy().dtype, (-1, *t.shape[1:]), n) for n, t in zip(NAMES, example, strict=False)]
    images = mlflow.types.Schema([spec(np.dtype("float32"), (-1, *model.shape))])
    signature = mlflow.models.ModelSignature(mlflow.types.Schema(inputs), images)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        function(*example)  # the first call draws constants such as frequencies, and must not be traced
        mlflow.pytorch.save_model(
            function,
            folder,
            serialization_format="pt2",
            input_example=tuple(example),
            signature=signature,
            # without these, MLflow runs pip for seconds to find them
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}"],
            metadata={"key": model.cell.key},
        )


NAMES = ("x", "sigma", "label")


def _example(model: Model) -> list[torch.Tensor]:
    """Example inputs with two images: with one, the exported graph would accept no other batch size."""
    x, sigma = torch.zeros(2, *model.shape), torch.full((2,), 80.0, dtype=torch.float64)
    classes = model.f.classes
    return [x, sigma, *([one_hot(torch.arange(2) % classes, classes)] if classes else [])]
