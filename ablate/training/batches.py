"""The images of each step: from the device, or from the host, where they are gathered one step ahead."""

from __future__ import annotations

import functools
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from ablate.core.hardware import sent
from ablate.core.rng import stream
from ablate.data.datasets import Images


class Batches:
    """The batches of a training, which depend on the seed and the step only, wherever the images are.

    While a step is computed, a thread reads the next batch from the memory-mapped file, into pinned memory if the
    device is a GPU, which then copies it without waiting.
    """

    def __init__(self, images: Images, seed: int, batch: int, last: int):
        self.images, self.seed, self.batch, self.last = images, seed, batch, last
        self.thread = ThreadPoolExecutor(1, "batches") if images.ahead else None
        self.next: tuple[int, Future[torch.Tensor]] | None = None

    def indices(self, k: int) -> torch.Tensor:
        """The indices (batch,) of the images of step k."""
        return batch_indices(self.seed, k, self.batch, len(self.images.train))

    def following(self, k: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` images of the steps after k, uint8, and their indices: fewer if they would be in step k or twice."""
        first, own = (k + 1) * self.batch, self.indices(k)
        found = _range(self.seed, first, first + count, len(self.images.train)).unique()  # type: ignore[no-untyped-call]
        found = found[~torch.isin(found, own)]
        images = self.images.train[sent(found, self.images.train.device)]
        return sent(images, self.images.device), found

    def __call__(self, k: int) -> torch.Tensor:
        """The images of step k, uint8 (batch, C, H, W), on the device."""
        if self.thread is None:
            return self.images.train[sent(self.indices(k), self.images.device)]
        known, gathered = self.next or (-1, None)
        x = gathered.result() if gathered and known == k else self._gather(k)
        self.next = (k + 1, self.thread.submit(self._gather, k + 1)) if k + 1 < self.last else None
        return x.to(self.images.device, non_blocking=True)

    def _gather(self, k: int) -> torch.Tensor:
        x = self.images.train[self.indices(k)]
        return x.pin_memory() if self.images.device.type == "cuda" else x


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, n: int) -> torch.Tensor:
    return torch.randperm(n, generator=stream(seed, "data", epoch))


def batch_indices(seed: int, k: int, batch: int, n: int) -> torch.Tensor:
    """The indices (batch,) of the images of step k, from seeded permutations of n images, one per epoch."""
    return _range(seed, k * batch, (k + 1) * batch, n)


def _range(seed: int, first: int, last: int, n: int) -> torch.Tensor:
    """Places `first` to `last` - 1 of the permutations, one after another."""
    epochs = range(first // n, (last - 1) // n + 1)
    return torch.cat([_order(seed, e, n) for e in epochs])[first - epochs[0] * n :][: last - first]
