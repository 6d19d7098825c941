"""Sampling with one or more steps of the consistency function."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.core.lazy import torch
from ablate.core.rng import stream
from ablate.training.denoiser import Denoiser

BLOCK = 64  # images per random stream


def sample(
    f: Denoiser,
    z: Sequence[torch.Tensor],
    sigmas: Sequence[float],
    sigma_min: float,
    label: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sample images (B, C, H, W), roughly in [-1, 1], with len(sigmas) evaluations of f.

    x = f(sigmas[0] z[0], sigmas[0]); then for every further level t: x = f(x + sqrt(t^2 - sigma_min^2) z[i], t).
    Source: CM algorithm 1. A network with a second level leads from level to level without new noise: see `lowered`.

    Args:
        z: a standard normal tensor (B, C, H, W) for every level.
        sigmas: descending; the first is sigma_max.
        label: one-hot classes (B, classes), or None.
    """
    size = len(z[0])
    level = torch.full((size,), sigmas[0], dtype=torch.float64, device=z[0].device)
    x = sigmas[0] * z[0]
    for t, noise in zip(sigmas[1:], z[1:], strict=True):
        x = lowered(f, x, level, t, sigma_min, noise, label)
        level = torch.full_like(level, t)
    return f(x, level, label)


def lowered(
    f: Denoiser,
    x: torch.Tensor,
    level: torch.Tensor,
    t: float,
    sigma_min: float,
    noise: torch.Tensor,
    label: torch.Tensor | None = None,
) -> torch.Tensor:
    """Noisy images (B, C, H, W) at t from those x at `level` (B,), by one evaluation of f.

    With a second level, f(x, level, t) is x less (level - sigma_min) times the mean slope on the way to t, which is
    followed. Otherwise the image f(x, level) gets new noise.
    """
    if not f.two_levels:
        scale: float = max(t**2 - sigma_min**2, 0) ** 0.5
        return f(x, level, label) + scale * noise
    part = (t - sigma_min) / (level - sigma_min)
    image = f(x, level, label, until=torch.full_like(level, t))
    below: torch.Tensor = torch.lerp(image, x, part.to(x.dtype)[:, None, None, None])
    return below


def noise(seed: int, shape: Sequence[int], n: int, step: int, device: str) -> torch.Tensor:
    """Noise (n, C, H, W) of one sampling step; the noise of image i does not depend on n."""
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
    classes: Sequence[int] = (),
) -> torch.Tensor:
    """Sample n images (n, C, H, W), float32, from f in evaluation mode, with the sampling noise of `seed`.

    If f is class-conditional, the images have `classes` in turn, by default all of them.
    """
    labels = f.labels(n, device, classes)
    z = [noise(seed, shape, n, step, device) for step in range(len(sigmas))]
    training = f.network.training
    f.network.eval()
    try:
        slices = [slice(i, i + batch) for i in range(0, n, batch)]
        chunks = [
            sample(f, [e[s] for e in z], sigmas, sigma_min, None if labels is None else labels[s])
            for s in slices
        ]
    finally:
        f.network.train(training)
    return torch.cat(chunks)
