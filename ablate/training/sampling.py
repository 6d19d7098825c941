"""Sampling: one, two and more steps of the consistency function."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.core.lazy import torch
from ablate.core.rng import stream
from ablate.training.denoiser import Denoiser

BLOCK = 64  # images that share a stream


def sample(
    f: Denoiser,
    z: Sequence[torch.Tensor],
    sigmas: Sequence[float],
    sigma_min: float,
    label: torch.Tensor | None = None,
) -> torch.Tensor:
    """Images (B, C, H, W) in about [-1, 1] by len(sigmas) evaluations of f.

    x = f(sigmas[0] z[0], sigmas[0]); then for every further level t: x = f(x + sqrt(t^2 - sigma_min^2) z[i], t).
    Source: CM algorithm 1.

    Args:
        z: a standard normal tensor (B, C, H, W) for every level.
        sigmas: descending; the first is sigma_max.
    """
    size = len(z[0])
    level = torch.full((size,), sigmas[0], dtype=torch.float64, device=z[0].device)
    x = f(sigmas[0] * z[0], level, label)
    for t, noise in zip(sigmas[1:], z[1:], strict=True):
        x = f(x + max(t**2 - sigma_min**2, 0) ** 0.5 * noise, torch.full_like(level, t), label)
    return x


def noise(seed: int, shape: Sequence[int], n: int, step: int, device: str) -> torch.Tensor:
    """Noise (n, C, H, W) of one sampling step; image i has the same whatever n is and whatever else is sampled."""
    blocks = [stream(seed, "sampling", step, block, device=device) for block in range(-(-n // BLOCK))]
    return torch.cat([torch.randn(BLOCK, *shape, generator=g, device=device) for g in blocks])[:n]


@torch.no_grad()
def generate(
    f: Denoiser,
    shape: Sequence[int],
    n: int,
    sigmas: Sequence[float],
    sigma_min: float,
    seed: int = 0,
    batch: int = 256,
    device: str = "cpu",
) -> torch.Tensor:
    """n images (n, C, H, W), float32, of f in evaluation mode, from the seed's sampling noise.

    Where f is told classes, image i is of class i mod classes.
    """
    labels = f.labels(n, device)
    z = [noise(seed, shape, n, step, device) for step in range(len(sigmas))]
    training = f.network.training
    f.network.eval()
    try:
        parts = [slice(i, i + batch) for i in range(0, n, batch)]
        told = [None if labels is None else labels[part] for part in parts]
        chunks = [
            sample(f, [e[part] for e in z], sigmas, sigma_min, label)
            for part, label in zip(parts, told, strict=True)
        ]
    finally:
        f.network.train(training)
    return torch.cat(chunks)
