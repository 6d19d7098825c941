"""Networks of one's own as people write them: classes that `network: module` finds under `helpers.own_networks`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def spec(name, arguments=None):
    """The option of the axis `network` that is a class of this file."""
    return {"name": "module", "path": f"helpers.own_networks:{name}", "arguments": arguments or {}}


class Net(nn.Module):
    """Two convolutions with a layer between them that a subclass makes; it sees image and level."""

    def __init__(self, shape, classes, embedding, **arguments):
        super().__init__()
        self.level = nn.Linear(1, 8)
        self.first = nn.Conv2d(shape[0], 8, 3, padding=1)
        self.between = self.made(**arguments)
        self.last = nn.Conv2d(8, shape[0], 3, padding=1)

    def made(self):
        return nn.Identity()

    def middle(self, h):
        return self.between(h)

    def forward(self, x, c_noise, label=None):
        h = self.first(x) + self.level(c_noise[:, None])[..., None, None]
        return self.last(self.middle(h.relu()))


class Normed(Net):
    """Batch norm: running means and a count, which torch changes in place."""

    def made(self):
        return nn.BatchNorm2d(8)


class Replaced(Net):
    """A running mean that every pass replaces by another tensor."""

    def made(self):
        self.register_buffer("mean", torch.zeros(8))
        return nn.Identity()

    def middle(self, h):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean((0, 2, 3))
        return h - self.mean[:, None, None]


class Spectral(Net):
    """Vectors of a spectral norm, which each pass in training improves."""

    def made(self):
        return nn.utils.spectral_norm(nn.Conv2d(8, 8, 1))


class Counting(Net):
    """A whole number of passes in a frozen parameter, and in a buffer that no state dict has."""

    def made(self, persistent=True):
        self.passes = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64), persistent=persistent)
        return nn.Identity()

    def middle(self, h):
        if self.training:
            self.passes += 1
            self.seen += 1
        return h


class Dropped(Net):
    """Any dropout layer of torch."""

    def made(self, kind="Dropout", p=0.3):
        return nn.Sequential(nn.Conv2d(8, 8, 1), getattr(nn, kind)(p))


class NormedDropped(Net):
    """Running means and dropout."""

    def made(self):
        return nn.Sequential(nn.BatchNorm2d(8), nn.Dropout(0.3))


class Twice(Net):
    """One dropout in two places of a pass."""

    def made(self):
        return nn.Dropout(0.3)

    def middle(self, h):
        return self.between(self.between(h))


class Tied(Net):
    """One dropout under two names."""

    def made(self):
        self.again = nn.Dropout(0.3)
        return self.again

    def middle(self, h):
        return self.between(self.again(h))


class Functional(Net):
    """Dropout as a function."""

    def middle(self, h):
        return F.dropout(h, 0.3, self.training)


class Attending(Net):
    """Attention, whose dropout is a number."""

    def made(self):
        return nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True)

    def middle(self, h):
        rows = h.flatten(2).transpose(1, 2)
        return h + self.between(rows, rows, rows)[0].transpose(1, 2).reshape(h.shape)


class Skipping(Net):
    """Stochastic depth, with numbers of torch's default generator."""

    def middle(self, h):
        return h * (torch.rand(len(h), 1, 1, 1) > 0.3) if self.training else h


class Frozen(Net):
    """Named parts are not trained."""

    def made(self):
        return nn.Conv2d(8, 8, 1)

    def __init__(self, shape, classes, embedding, parts=("first",)):
        super().__init__(shape, classes, embedding)
        for name in parts:
            getattr(self, name).requires_grad_(False)
