"""What another project calls each tensor of ours, and what happens to its numbers: rules for both directions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ablate.checkpoints.reader import Tensors, others
from ablate.core.errors import SpecError
from ablate.core.registry import AXES, connect

Step = Callable[[Tensor], Tensor]
FED = ("noise_precond", "input_precond", "parameterization")


@dataclass(frozen=True)
class Change:
    """What happens to the numbers of a tensor: `read` makes theirs ours, `write` is its inverse."""

    read: Step
    write: Step


def _swap(dim: int) -> Change:
    def swapped(t: Tensor) -> Tensor:
        return t.roll(t.shape[dim] // 2, dim)

    return Change(swapped, swapped)


AS_IS = Change(lambda t: t, lambda t: t)
SWAP_ROWS, SWAP_COLUMNS = _swap(0), _swap(1)  # sines before cosines instead of behind them
TRANSPOSE = Change(lambda t: t.mT, lambda t: t.mT)


def heads_first(head_channels: int | None) -> Change:
    """Queries, keys and values as (head, channel, q/k/v) instead of (q/k/v, head, channel).

    Args:
        head_channels: channels per head; None: one head.
    """

    def heads(t: Tensor) -> int:
        channels = t.shape[0] // 3
        return max(1, channels // (head_channels or channels))

    def read(t: Tensor) -> Tensor:
        parts = t.reshape(heads(t), -1, 3, *t.shape[1:])
        return parts.movedim(2, 0).flatten(0, 2)

    def write(t: Tensor) -> Tensor:
        parts = t.reshape(3, heads(t), -1, *t.shape[1:])
        return parts.movedim(0, 2).flatten(0, 2)

    return Change(read, write)


@dataclass(frozen=True)
class Architecture:
    """A network, its embedding, and the images that it is for.

    Args:
        network, embedding: specs of the two axes.
        shape: (C, H, W) of the images.
        classes: number of classes; 0: unconditional.
    """

    network: Mapping[str, Any]
    embedding: Mapping[str, Any]
    shape: tuple[int, int, int]
    classes: int

    def option(self) -> Any:
        """The option of the axis `network`, with its embedding."""
        parts = {axis: AXES[axis].build(getattr(self, axis)) for axis in ("network", "embedding")}
        return connect(parts)["network"]

    def blank(self) -> Tensors:
        """Our state dict without numbers."""
        with torch.device("meta"):
            return dict(self.option()(self.shape, self.classes).state_dict())

    @property
    def levels(self) -> int:
        """The number of resolutions."""
        return len(self.network["multipliers"])

    @property
    def blocks(self) -> int:
        """Residual blocks per level of the encoder."""
        return int(self.network["blocks"] * (1 + self.network.get("deep", False)))


@dataclass(frozen=True)
class Layout:
    """Their names of our tensors.

    Args:
        places: our modules and theirs; the longest that begins a name counts.
        parts: the names inside these modules, as far as they differ.
        changes: by the end of our name, as far as the numbers differ.
    """

    places: Mapping[str, str]
    parts: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)

    def theirs(self, ours: str) -> str:
        """Their name of our tensor `ours`."""
        place = max((p for p in self.places if not p or f"{ours}.".startswith(f"{p}.")), key=len)
        module, _, kind = ours[len(place) :].removeprefix(".").rpartition(".")
        return ".".join(filter(None, (self.places[place], self.parts.get(module, module), kind)))

    def change(self, ours: str) -> Change:
        """What happens to the numbers of our tensor `ours`."""
        return next((c for end, c in self.changes.items() if ours.endswith(end)), AS_IS)

    def read(self, theirs: Tensors, blank: Tensors) -> Tensors:
        """Our state dict from theirs, float32.

        Args:
            blank: ours without numbers.
        Raises:
            SpecError: a tensor that is missing, left over or of another shape.
        """
        names = {ours: self.theirs(ours) for ours in blank}
        if missing := [name for name in names.values() if name not in theirs]:
            raise SpecError(f"the tensor {missing[0]!r} is missing{others(missing)}")
        if extra := sorted(set(theirs) - set(names.values())):
            raise SpecError(f"no network here has the tensor {extra[0]!r}{others(extra)}")
        for ours, name in names.items():
            wanted = tuple(self.change(ours).write(blank[ours]).shape)
            if (found := tuple(theirs[name].shape)) != wanted:
                raise SpecError(f"the tensor {name!r} has the shape {found}, but {wanted} is needed")
        return {
            ours: self.change(ours)
            .read(theirs[name].detach())
            .float()
            .clone(memory_format=torch.contiguous_format)
            for ours, name in names.items()
        }

    def write(self, ours: Tensors) -> Tensors:
        """Their state dict from ours."""
        return {
            self.theirs(name): self.change(name).write(t.detach()).contiguous() for name, t in ours.items()
        }


class Family(ABC):
    """A project whose networks are converted; its modules are `edm`, `consistency_models` and `diffusers`."""

    name: str  # as people say it
    wrappers: Mapping[str, str] = {}  # classes of pickled networks, and what each predicts
    predicts = "denoiser"  # what its networks are, unless you say otherwise
    inputs: Mapping[str, Any] = {}  # specs of the axes `FED`

    def fed(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The specs of the axes that decide what the network gets, and what its output becomes."""
        return self.inputs

    @abstractmethod
    def recognizes(self, tensors: Tensors, config: Mapping[str, Any]) -> bool:
        """Whether these are the names of a network of the project."""

    @abstractmethod
    def described(self, tensors: Tensors, config: Mapping[str, Any], resolution: int | None) -> Architecture:
        """The network, from the names and shapes of its tensors; SpecError if we have none like it."""

    @abstractmethod
    def layout(self, network: Architecture) -> Layout:
        """The names of a network's tensors."""

    def reduced(
        self, tensors: Tensors, network: Architecture, config: Mapping[str, Any]
    ) -> tuple[Tensors, list[str]]:
        """The tensors that have a counterpart here, and a line for each kind that is dropped."""
        return tensors, []

    def added(self, network: Architecture, tensors: Tensors) -> Tensors:
        """The tensors that their networks have besides, for writing."""
        return {}

    def written(self, network: Architecture, ours: Tensors) -> Tensors:
        """Their state dict of our network."""
        found = self.layout(network).write(ours)
        return {**found, **self.added(network, found)}
