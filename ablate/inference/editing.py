"""Zero-shot editing: a consistency model fills in what a measurement of an image leaves open."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ablate.core.errors import SpecError
from ablate.training.denoiser import Denoiser
from ablate.training.sampling import noise

STEPS, RATE = 300, 0.1  # of Adam, which looks for the noise of an image
GRAY = (0.2989, 0.5870, 0.1140)  # luma weights of ITU-R BT.601

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Measurement:
    """A linear measurement of an image x: the coefficients of A(x) where `mask` is 0 are known.

    A: images (B, C, H, W) -> coefficients, linear and orthogonal; A_inverse: back; mask: 0 or 1, broadcast to
    A(x).
    """

    A: Map
    A_inverse: Map
    mask: Tensor

    def mixed(self, y: Tensor, x: Tensor) -> Tensor:
        """A^-1[(A y)(1 - mask) + (A x) mask], (B, C, H, W): the measured part of y and the rest of x."""
        return mix(y, x, self.A, self.A_inverse, self.mask)

    def given(self, y: Tensor) -> Tensor:
        """The measured part of images y (B, C, H, W), as images."""
        return self.mixed(y, torch.zeros_like(y))


def mix(y: Tensor, x: Tensor, A: Map, A_inverse: Map, mask: Tensor) -> Tensor:
    """A^-1[(A y)(1 - mask) + (A x) mask] of images y and x (B, C, H, W)."""
    mask = mask.to(y)
    return A_inverse(A(y) * (1 - mask) + A(x) * mask)


@torch.no_grad()
def edit(
    f: Denoiser, y: Tensor, A: Map, A_inverse: Map, mask: Tensor, sigmas: Sequence[float], seed: int = 0
) -> Tensor:
    """Images (B, C, H, W) that agree with y where `mask` is 0, by len(sigmas) evaluations of f.

    y' = A^-1[(A y)(1 - mask)]; x = f(y' + sigmas[0] z, sigmas[0]); x = A^-1[(A y)(1 - mask) + (A x) mask];
    for every further level t the same of f(x + sqrt(t^2 - sigma_min^2) z, t). Source: CM algorithm 4; nothing
    is clipped.

    Args:
        y: images in [-1, 1]; the part that the mask hides has no influence.
        A, A_inverse, mask: as in `Measurement`.
        sigmas: descending noise levels; the first is usually sigma_max.
        seed: of the noise z.
    """
    x, low = mix(y, torch.zeros_like(y), A, A_inverse, mask), 0.0
    for step, t in enumerate(sigmas):
        z = noise(seed, y.shape[1:], len(y), step, str(y.device))
        level = torch.full((len(y),), t, dtype=torch.float64, device=y.device)
        x = f(x + max(t**2 - low**2, 0) ** 0.5 * z, level)
        x, low = mix(y, x, A, A_inverse, mask), f.recipe.levels.sigma_min
    return x


def basis(first: Sequence[float]) -> Tensor:
    """An orthogonal matrix (n, n), float64, whose first column is `first` (n) scaled to length 1."""
    start = torch.eye(len(first), dtype=torch.float64)
    start[:, 0] = torch.tensor(first, dtype=torch.float64)
    Q: Tensor = torch.linalg.qr(start)[0]
    return Q * torch.sign(Q[:, 0] @ start[:, 0])


def inpainting(hidden: Tensor) -> Measurement:
    """Known pixels: A is the identity; `hidden` (H, W) is 1 where the model fills in the image."""
    return Measurement(lambda x: x, lambda x: x, hidden)


def centre(height: int, width: int) -> Tensor:
    """A mask (H, W): 1 in the middle half of the height and of the width."""
    hidden = torch.zeros(height, width)
    hidden[height // 4 : height - height // 4, width // 4 : width - width // 4] = 1
    return hidden


def colorization() -> Measurement:
    """Known brightness: A rotates colours so that the first coefficient is (0.2989, 0.5870, 0.1140) x at length 1.

    Source: CM appendix D. A raises SpecError unless images have three channels.
    """
    Q = basis(GRAY)

    def A(x: Tensor) -> Tensor:
        if x.shape[1] != 3:
            raise SpecError(f"colorize: needs images with 3 channels, not {x.shape[1]}")
        return torch.einsum("bihw,ij->bjhw", x, Q.to(x))

    mask = torch.tensor([0.0, 1.0, 1.0])[:, None, None]
    return Measurement(A, lambda c: torch.einsum("bjhw,ij->bihw", c, Q.to(c)), mask)


def grayscale(x: Tensor) -> Tensor:
    """Gray versions of colour images (B, 3, H, W), still in three channels."""
    weights = torch.tensor(GRAY).to(x)
    return torch.einsum("bihw,i->bhw", x, weights / weights.sum())[:, None].expand_as(x)


def superresolution(patch: int) -> Measurement:
    """Known means of patch x patch pixels: the first coefficient of every patch in an orthogonal basis.

    Coefficients are (B, C, H / patch, W / patch, patch^2). Source: CM appendix D. A raises SpecError unless `patch`
    divides H and W.
    """
    Q = basis([1.0] * patch**2)

    def A(x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        if H % patch or W % patch:
            raise SpecError(f"superres: {H}x{W} pixels are not a multiple of {patch}")
        cut = x.reshape(B, C, H // patch, patch, W // patch, patch).transpose(3, 4)
        return torch.matmul(cut.flatten(4), Q.to(x))

    def A_inverse(c: Tensor) -> Tensor:
        B, C, h, w, _ = c.shape
        cut = torch.matmul(c, Q.T.to(c)).reshape(B, C, h, w, patch, patch)
        return cut.transpose(3, 4).reshape(B, C, h * patch, w * patch)

    mask = torch.ones(patch**2)
    mask[0] = 0
    return Measurement(A, A_inverse, mask)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """The point at `share` on the great circle from a (share 0) to b (share 1), both (B, C, H, W), per image.

    (sin((1 - share) psi) a + sin(share psi) b) / sin psi, psi the angle between them. Source: CM appendix D.
    """
    dot = (a * b).sum((1, 2, 3)) / (a.flatten(1).norm(dim=1) * b.flatten(1).norm(dim=1))
    psi = dot.double().clamp(-1, 1).acos().clamp(1e-6, math.pi - 1e-6)  # avoids 0 / 0 for equal noise
    left, right = ((part * psi).sin() / psi.sin() for part in (1 - share, share))
    mixed: Tensor = left[:, None, None, None] * a + right[:, None, None, None] * b
    return mixed.to(a)


def latent(f: Denoiser, x: Tensor, seed: int = 0) -> Tensor:
    """Noise z (B, C, H, W) whose one-step sample f(sigma_max z, sigma_max) is close to images x (B, C, H, W).

    A consistency model has no inverse, so Adam minimizes the squared distance, starting from the seed's noise. z
    keeps length sqrt(d), which normal noise nearly has, since f was not trained on others. For each image, the z
    with the smallest distance on the way is returned.
    """
    top, d = f.recipe.levels.sigma_max, x[0].numel()
    level = torch.full((len(x),), top, dtype=torch.float64, device=x.device)
    z = noise(seed, x.shape[1:], len(x), 0, str(x.device)).requires_grad_()
    best, least = z.detach().clone(), torch.full((len(x),), math.inf, device=x.device)
    optimizer = torch.optim.Adam([z], RATE)
    for _ in range(STEPS):
        unit = z * (d**0.5 / z.flatten(1).norm(dim=1))[:, None, None, None]
        distance = (f(top * unit, level) - x).square().sum((1, 2, 3))
        closer = distance.detach() < least
        best[closer], least[closer] = unit.detach()[closer], distance.detach()[closer]
        (z.grad,) = torch.autograd.grad(distance.sum(), [z])
        optimizer.step()
    return best


@torch.no_grad()
def interpolate(f: Denoiser, a: Tensor, b: Tensor, shares: Sequence[float]) -> Tensor:
    """One-step samples (B, len(shares), C, H, W) on the great circle from noise a to b (B, C, H, W)."""
    top = f.recipe.levels.sigma_max
    level = torch.full((len(a),), top, dtype=torch.float64, device=a.device)
    return torch.stack([f(top * slerp(a, b, share), level) for share in shares], dim=1)


@torch.no_grad()
def denoise(f: Denoiser, y: Tensor, sigma: float) -> Tensor:
    """f(y, sigma): an estimate of x (B, C, H, W) from y = x + sigma z (B, C, H, W)."""
    return f(y, torch.full((len(y),), sigma, dtype=torch.float64, device=y.device))
