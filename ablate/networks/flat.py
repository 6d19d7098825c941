"""A network's parameters as one vector, so that an optimizer or an average needs one operation, not hundreds."""

from __future__ import annotations

import torch


class Flat:
    """`vector` (P,) holds all parameters of `network`; they become views of it and keep their memory layout.

    With `gradients`, `vector.grad` (P,) holds their gradients in the same way: zero it, never set it to None.
    """

    def __init__(self, network: torch.nn.Module, gradients: bool = False):
        parameters = [*network.parameters()]
        first = parameters[0].detach()
        total = sum(p.numel() for p in parameters)
        self.vector = torch.nn.Parameter(first.new_empty(total), requires_grad=gradients)
        if gradients:
            self.vector.grad = torch.zeros_like(self.vector)
        start = 0
        for p in parameters:
            self._adopt(p, start)
            start += p.numel()

    def _adopt(self, p: torch.nn.Parameter, start: int) -> None:
        view = self.vector.data.as_strided(p.shape, _dense(p), start)
        view.copy_(p.detach())
        p.data = view
        if self.vector.grad is not None:
            p.grad = self.vector.grad.as_strided(p.shape, _dense(p), start)


def _dense(p: torch.Tensor) -> tuple[int, ...]:
    """Strides of p without gaps, with the same order of dimensions in memory."""
    return torch.empty_like(p, memory_format=torch.preserve_format).stride()
