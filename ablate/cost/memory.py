"""The most memory that a training takes, and the operations of a step, counted on tensors without content."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ablate.config.profile import Profile
from ablate.config.recipe import Recipe
from ablate.core.registry import AXES
from ablate.data.datasets import Images
from ablate.ingredients import embedding
from ablate.training.distributed import Ranks
from ablate.training.trainer import Trainer

Shape = tuple[int, ...]
# passes of the student that keep as many values for their way back as its derivative does: 4.5 to 5 on real networks;
# these have two thirds of its operations
DERIVATIVE = 5


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the memory of all tensors that are alive; `peak` is the most of it, in bytes.

    What an operation needs only while it runs is not seen. `operations` counts those that compute something.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = self.operations = 0
        self.known = set[int]()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        views = operation.is_view or operation is torch.ops.aten.detach.default
        self.operations += bool(tensors) and not views
        for x in tensors:
            self._add(x.untyped_storage())
        return result

    def of(self, work: Callable[[], object]) -> int:
        """The most bytes that are alive while `work` is done, those from before included."""
        self.peak = self.now
        work()
        return self.peak

    def _add(self, storage: Any) -> None:
        number, size = storage._cdata, storage.nbytes()
        if number in self.known:
            return
        self.known.add(number)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, number, size)

    def _remove(self, number: int, size: int) -> None:
        self.known.discard(number)
        self.now -= size


class _Fake(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Tensors that have a shape, a type and a device but no content; copies of a network stay in the same mode."""

    def __deepcopy__(self, memo: Any) -> _Fake:
        return self


class _Blank:
    """Batches of blank images."""

    def __init__(self, shape: Shape, batch: int):
        self.shape, self.batch = shape, batch

    def __call__(self, k: int) -> torch.Tensor:
        return torch.zeros(self.batch, *self.shape, dtype=torch.uint8)

    def indices(self, k: int) -> torch.Tensor:
        return torch.zeros(self.batch, dtype=torch.int64)

    def following(self, k: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(count, *self.shape, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64)


class _Two(Ranks):
    """Two micro-batches of a step stand for all of them: each later one takes what the second takes."""

    def share(self, accumulate: int) -> tuple[int, range]:
        return accumulate, range(min(2, accumulate))


class _Counted(Trainer):
    """A trainer that draws nothing whose content decides what happens next."""

    batches: Any

    def __init__(self, recipe: Recipe, profile: Profile, shape: Shape, classes: int):
        blank, labels = torch.zeros(1, *shape, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
        super().__init__(recipe, profile, Images(blank, labels, blank, labels, classes, ""), 0, ranks=_Two())
        self.batches = _Blank(shape, profile.batch)

    def _built(self, recipe: Recipe, shape: Shape, classes: int) -> torch.nn.Module:
        network: torch.nn.Module = recipe.network(shape, classes)
        for p in network.parameters():  # `Module.to` refuses tensors without content
            if p.ndim == 4:
                p.data = p.data.contiguous(memory_format=torch.channels_last)
        return network

    def _mask(self, purpose: str) -> None:
        """The first pass of a Dropout draws its mask."""


class _Plain:
    """What a target is made of, with a plain pass in place of a derivative, which torch does not count.

    Neither sets the peak: the student's pass keeps all its layers' values for its way back, and they keep none.
    """

    def __init__(self, shown: Any):
        self.shown, self.slope = shown, shown.teacher

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shown, name)


class _Levels:
    """A pairing whose levels do not depend on what was drawn; everything else is that of the real one."""

    def __init__(self, real: Any, K: int):
        self.real = real
        half = torch.full((1,), 0.5, dtype=torch.float64)
        self.pair = [float(level) for level in real(0, K, half)]
        end = real.until(torch.full_like(half, self.pair[1]), half, half)
        self.end = None if end is None else float(end)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __call__(self, k: int, K: int, u: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.full_like(u, level) for level in self.pair)

    def target(self, shown: Any, *levels: torch.Tensor) -> Any:
        """That of the real one, without derivatives."""
        return self.real.target(_Plain(shown), *levels)

    def estimate(self, student: Any, sigma_student: torch.Tensor, until: Any) -> Any:
        """That of the real one, with further passes in place of a derivative, which torch does not count."""
        if not self.real.derives:
            return self.real.estimate(student, sigma_student, until)
        return sum(student(until) for _ in range(1 + DERIVATIVE))

    def until(self, sigma_student: torch.Tensor, *_: Any) -> torch.Tensor | None:
        """The same end for all images."""
        return None if self.end is None else torch.full_like(sigma_student, self.end)


@contextlib.contextmanager
def _forgotten() -> Iterator[None]:
    """A block after which ingredients forget what they keep: what they made meanwhile has no content."""
    try:
        yield
    finally:
        embedding.kept_frequencies.clear()
        for name in [name for name in sys.modules if name.startswith("ablate.ingredients.")]:
            for value in vars(sys.modules[name]).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def count_memory(recipe: Recipe, profile: Profile, shape: Shape, classes: int) -> dict[str, int]:
    """The most bytes of a training step of the whole batch and of the smallest micro-batches, and of sampling.

    `step` and `operations` are those of a step with `accumulate: 1`, `micro_step` with as many micro-batches as a power
    of two allows; `sampling` is a pass of the average over a batch of samples.
    """
    recipe = recipe.from_scratch()
    coupling = AXES["coupling"].build(AXES["coupling"].default)
    recipe = replace(recipe, coupling=coupling, pairing=_Levels(recipe.pairing, profile.steps))
    most = profile.batch & -profile.batch
    parts = profile.model_copy(update={"accumulate": most, "compile": False})
    whole = parts.model_copy(update={"accumulate": 1})
    with _forgotten(), _Fake(allow_non_fake_inputs=True), Live() as live:
        trainer = _Counted(recipe, parts, shape, classes)
        for group in trainer.optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.zeros_like(p)
        trainer.optimizer.step()  # makes its state, which every later step has from its beginning
        micro_step = live.of(trainer.step)
        trainer.profile, trainer.k, live.operations = whole, 0, 0  # the levels of step 0 are kept
        step, operations = live.of(trainer.step), live.operations
        n, f = min(profile.evaluation.batch, profile.evaluation.samples), trainer.average
        with torch.no_grad():
            sampling = live.of(lambda: f(torch.zeros(n, *shape), torch.ones(n).double(), f.labels(n)))
    return {"step": step, "micro_step": micro_step, "sampling": sampling, "operations": operations}
