"""A network's parameters as one vector, so that an optimizer or an average needs one operation, not hundreds."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def trained(network: torch.nn.Module, student: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters of `network`, the student or a copy of it, that are not frozen in the student."""
    pairs = zip(network.parameters(), student.parameters(), strict=True)
    return [p for p, original in pairs if original.requires_grad]


@torch.no_grad()
def copy_state(student: torch.nn.Module, network: torch.nn.Module) -> None:
    """Give `network`, a copy of the student, the student's buffers, such as running means, and frozen parameters."""
    for value, copied in zip(student.buffers(), network.buffers(), strict=True):
        copied.copy_(value)
    for value, copied in zip(student.parameters(), network.parameters(), strict=True):
        if not value.requires_grad:
            copied.copy_(value)


class Flat:
    """`vector` (P,) holds all `parameters`; they become views of it and keep their memory layout."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], gradients: bool = False):
        self.parameters = parameters
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
            # without a gradient the network does not use it
            gradient = torch.zeros_like(p) if p.grad is None else p.grad
            # in the order of memory, which is that of p
            found.append(gradient.as_strided((p.numel(),), (1,)))
            p.grad = None
        whole = torch.cat(found)
        self.vector.grad = whole if self.vector.grad is None else self.vector.grad.add_(whole)


def _dense(p: torch.Tensor) -> tuple[int, ...]:
    """Strides of p without gaps, with the same order of dimensions in memory."""
    return torch.empty_like(p, memory_format=torch.preserve_format).stride()
