"""A network's parameters as one vector, so that an optimizer or an average needs one operation, not hundreds."""

from __future__ import annotations

import torch


class Flat:
    """`vector` (P,) holds all parameters of `network`; they become views of it and keep their memory layout."""

    def __init__(self, network: torch.nn.Module, gradients: bool = False):
        self.parameters = [*network.parameters()]
        first = self.parameters[0].detach()
        total = sum(p.numel() for p in self.parameters)
        self.vector = torch.nn.Parameter(first.new_empty(total), requires_grad=gradients)
        start = 0
        for p in self.parameters:
            view = self.vector.data.as_strided(p.shape, _dense(p), start)
            view.copy_(p.detach())
            p.data = view
            start += p.numel()

    def gather_gradients(self) -> None:
        """Add the parameters' gradients to that of `vector`, in one operation, and forget them.

        A backward pass hands each of them over without computing; if they were views of one vector, it would add each.
        """
        found = []
        for p in self.parameters:
            gradient = torch.zeros_like(p) if p.grad is None else p.grad  # none: the network does not use it
            found.append(
                gradient.as_strided((p.numel(),), (1,))
            )  # in the order of memory, which is that of p
            p.grad = None
        whole = torch.cat(found)
        self.vector.grad = whole if self.vector.grad is None else self.vector.grad.add_(whole)


def _dense(p: torch.Tensor) -> tuple[int, ...]:
    """Strides of p without gaps, with the same order of dimensions in memory."""
    return torch.empty_like(p, memory_format=torch.preserve_format).stride()
