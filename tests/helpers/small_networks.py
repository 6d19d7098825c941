"""Networks of one or two layers, whose outputs a test can write out."""

from __future__ import annotations

import torch


class Zero(torch.nn.Module):
    """F = 0."""

    def forward(self, inputs, c_noise, label=None):
        return torch.zeros_like(inputs)


class Scale(torch.nn.Module):
    """F = w x, one parameter."""

    def __init__(self, w):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(w))

    def forward(self, inputs, c_noise, label=None):
        return self.w * inputs


class TwoLayers(torch.nn.Module):
    """Two layers in float64 with fixed weights, from so many numbers to four: `self.second(self.first(...).tanh())`."""

    def __init__(self, inputs=5):
        super().__init__()
        self.first, self.second = torch.nn.Linear(inputs, 16), torch.nn.Linear(16, 4)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.5)
        self.double()
