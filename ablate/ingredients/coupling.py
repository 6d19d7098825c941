"""coupling: x, z (B, C, H, W) -> z, permuted over the batch."""

from __future__ import annotations

from dataclasses import dataclass

from ablate.core.lazy import torch
from ablate.core.registry import Axis

coupling = Axis(__doc__, default="independent")


@coupling("independent")
@dataclass(frozen=True)
class Independent:
    """The noise as drawn. Source: CM algorithm 3."""

    def __call__(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return z


@coupling("minibatch_ot")
@dataclass(frozen=True)
class MinibatchOt:
    """The permutation of z that minimizes the sum of ||x - z||^2 over the batch (Hungarian method, cubic in B).

    Source: minibatch optimal transport, arXiv 2302.00482; for consistency models, arXiv 2406.09570.
    """

    def __call__(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        from scipy.optimize import linear_sum_assignment

        cost = torch.cdist(x.flatten(1).double(), z.flatten(1).double()).square()
        _, order = linear_sum_assignment(cost.cpu().numpy())
        return z[torch.as_tensor(order, device=z.device)]
