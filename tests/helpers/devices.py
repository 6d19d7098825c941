"""Trainings on devices that this machine does not have, and what would make the host wait for them.

On `meta` a whole step runs, backward pass included. On a fake `cuda` the rest runs, on the branches that the code takes
for GPUs, and torch itself refuses tensors of two devices.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ablate.data.datasets import Images

COPIES = {
    torch.ops.aten._to_copy.default,
    torch.ops.aten.copy_.default,
    torch.ops.aten._foreach_copy_.default,
}
READS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.equal.default,
}
MAKES = {torch.tensor, torch.as_tensor}  # from Python's numbers: they are copied, and the host waits


class Waits(TorchDispatchMode):
    """Collects in `found` each operation that makes the host wait for a device, or mixes two devices."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.made = Made(self.found)

    def __enter__(self) -> Waits:
        self.made.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.made.__exit__(*error)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        devices = {x.device.type for x in tensors}
        if operation in COPIES:
            devices |= {torch.device(kwargs["device"]).type} if kwargs.get("device") else set()
            waits = not (kwargs.get("non_blocking") or True in args[2:])
            if len(devices) > 1 and (waits or str(kwargs.get("device")) == "cpu"):
                self.found.append(f"{operation} between {sorted(devices)}")
        elif operation in READS and devices != {"cpu"}:
            self.found.append(f"{operation} reads from the device")
        elif len({x.device.type for x in tensors if x.ndim}) > 1:
            self.found.append(f"{operation} of {sorted(devices)}")
        return operation(*args, **kwargs)


class Made(TorchFunctionMode):
    """`torch.tensor` on a device copies below the dispatcher, so it is seen here."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        elsewhere = torch.device(kwargs.get("device") or "cpu").type != "cpu"
        if elsewhere and function in MAKES and not isinstance(args[0], torch.Tensor):
            self.found.append(f"torch.{function.__name__} of numbers on {kwargs['device']}")
        return function(*args, **kwargs)


def _itself(x, *rest):
    return x


@contextlib.contextmanager
def absent(device: str) -> Iterator[None]:
    """Allow tensors on `meta` or a fake `cuda`. Their generators are the CPU's, because they have none here."""
    generator, build = torch.Generator, "ablate.training.trainer.build_network"

    def of_the_cpu(device="cpu"):
        return generator("cpu")

    def built(recipe, shape, seed, device, classes=0):
        with torch.device(device):
            return recipe.network(shape, classes)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("torch.Generator", of_the_cpu))
        if device == "cuda":
            # moving a module's fake tensors to another memory format is not implemented, nor is pinned memory
            stack.enter_context(mock.patch(build, built))
            stack.enter_context(mock.patch.object(torch.Tensor, "pin_memory", _itself))
            # a copy of a network stays in its mode
            own = mock.patch.object(FakeTensorMode, "__deepcopy__", _itself, create=True)
            stack.enter_context(own)
            stack.enter_context(FakeTensorMode(allow_non_fake_inputs=False))
        yield


def images(device: str, shape: tuple[int, ...] = (1, 8, 8), classes: int = 3, n: int = 40) -> Images:
    """Blank images on a device."""
    train = torch.zeros(n, *shape, dtype=torch.uint8, device=device)
    labels = torch.zeros(n, dtype=torch.int64, device=device)
    return Images(train, labels, train[:4], labels[:4], classes, "x")
