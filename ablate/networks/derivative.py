"""A function and its derivative along a direction in one pass, by forward-mode differentiation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


class _Attention(TorchFunctionMode):
    """Attention by exponentials: torch's softmax overwrites what the gradient of its derivative needs."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not F.scaled_dot_product_attention or len(args) != 3 or kwargs:
            return function(*args, **(kwargs or {}))
        q, k, v = args
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        parts = (scores - scores.amax(-1, keepdim=True)).exp()
        return parts / parts.sum(-1, keepdim=True) @ v


def along(f: Callable[..., Tensor], at: Sequence[Tensor], way: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """f(*at), and d f(*(at + s way)) / ds at s = 0, of the same shape; with gradients, both can be differentiated."""
    # the fused attention kernels do not support forward-mode differentiation
    attention = _Attention() if torch.is_grad_enabled() else sdpa_kernel(SDPBackend.MATH)
    with attention, dual_level():
        duals = [make_dual(*pair) for pair in zip(at, way, strict=True)]  # type: ignore[no-untyped-call]
        value, slope = unpack_dual(f(*duals))  # type: ignore[no-untyped-call]
    return value, torch.zeros_like(value) if slope is None else slope
