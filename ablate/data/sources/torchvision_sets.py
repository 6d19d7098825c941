"""Sets that torchvision downloads: `cifar10`, `cifar100`, `mnist`, `fashion_mnist`, `kmnist`, `svhn` and `stl10`.

Copies of the original archives may lie in the folder instead, such as cifar-10-python.tar.gz, a tar of pickles.
torchvision unpickles these only if each has the MD5 sum of the file that CIFAR's authors made. Nobody can make another
file with a given sum, so no foreign code can run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ablate.config.profile import ARCHIVES, CACHED, Data
from ablate.core.errors import SpecError
from ablate.core.files import typed_path
from ablate.data.archives import KEY
from ablate.data.sources import Known, Source
from ablate.data.survey import Survey

UBYTE = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


class TorchvisionSet(Source):
    """One of torchvision's classes.

    title: in reports. put: what to put into the folder where there is no network.
    """

    takes = ("path",)
    needs = ()
    size: Known
    title: str
    put: str

    def known(self, spec: Data) -> Known:
        return self.size

    def surveys(self, spec: Data) -> list[Survey]:
        folder = typed_path(spec.path or f"{CACHED}/{self.name}", f"{KEY}.path")
        try:
            halves = [self.half(str(folder), train) for train in (True, False)]
        except (OSError, RuntimeError) as error:  # no network, or a file that fails its checksum
            raise SpecError(
                f"{KEY}.name: {self.name!r}: cannot be downloaded ({str(error)[:80]}): put {self.put} into {folder}"
            ) from None
        found = [[(f"image {i}", *pair) for i, pair in enumerate(half)] for half in halves]
        counts = [len(half) for half in found]
        if counts != [self.size.train, self.size.held_out]:
            right = f"{self.size.train:,} and {self.size.held_out:,}"
            raise SpecError(f"{KEY}.path: {folder}: has {counts[0]:,} and {counts[1]:,} images, not {right}")
        self.verify(folder)
        return [Survey.of_arrays(half) for half in found]

    def verify(self, folder: Path) -> None:
        """Check that the files are this set's, where torchvision does not.

        Raises:
            SpecError: one is not.
        """

    def half(self, folder: str, train: bool) -> Iterable[tuple[Any, int]]:
        """Arrays (H, W) or (H, W, 3), each with its class."""
        from torchvision import datasets

        found: Any = self.load(datasets, folder, train)
        labels = found.targets if hasattr(found, "targets") else found.labels
        pixels = found.data.numpy() if hasattr(found.data, "numpy") else found.data
        if pixels.ndim == 4 and pixels.shape[1] == 3:  # SVHN and STL-10 have the channels first
            pixels = pixels.transpose(0, 2, 3, 1)
        return zip(pixels, map(int, labels), strict=True)

    def load(self, datasets: Any, folder: str, train: bool) -> Any:
        """torchvision's data set."""
        return getattr(datasets, self.title)(folder, train=train, download=True)

    def describe(self, spec: Data, train: object, held_out: object) -> str:
        return f"torchvision's {self.title}"


class Cifar10(TorchvisionSet, name="cifar10"):
    size, title = Known((3, 32, 32), 50_000, 10_000, 10), "CIFAR-10"
    put = f"cifar-10-python.tar.gz, or {' and '.join(ARCHIVES)} in EDM's layout,"

    def load(self, datasets: Any, folder: str, train: bool) -> Any:
        return datasets.CIFAR10(folder, train=train, download=True)


class Cifar100(TorchvisionSet, name="cifar100"):
    size, title, put = Known((3, 32, 32), 50_000, 10_000, 100), "CIFAR-100", "cifar-100-python.tar.gz"

    def load(self, datasets: Any, folder: str, train: bool) -> Any:
        return datasets.CIFAR100(folder, train=train, download=True)


class Ubyte(TorchvisionSet):
    """A set in four files that have the same names in each of them. torchvision checks only what it downloads.

    sums: their MD5 sums; of a set without known ones, the files must only not be those of another.
    """

    size = Known((1, 28, 28), 60_000, 10_000, 10)
    sums: tuple[str, ...] = ()

    def verify(self, folder: Path) -> None:
        for name in UBYTE:
            with (file := folder / self.title / "raw" / name).open("rb") as opened:
                found = hashlib.file_digest(opened, "md5").hexdigest()
            owner = next((of.title for of in (Mnist, FashionMnist) if found in of.sums), "")
            if owner != self.title and (owner or self.sums):
                which = f"it is that of {owner}" if owner else f"its MD5 sum is {found}"
                raise SpecError(f"{KEY}.path: {file}: not the file of {self.title}: {which}")


class Mnist(Ubyte, name="mnist"):
    title, put = "MNIST", "MNIST/raw with its four -ubyte files"
    sums = (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    )


class FashionMnist(Ubyte, name="fashion_mnist"):
    title, put = "FashionMNIST", "FashionMNIST/raw with its four -ubyte files"
    sums = (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    )


class Kmnist(Ubyte, name="kmnist"):
    title, put = "KMNIST", "KMNIST/raw with its four -ubyte files"


class Svhn(TorchvisionSet, name="svhn"):
    size, title = Known((3, 32, 32), 73_257, 26_032, 10), "SVHN"
    put = "train_32x32.mat and test_32x32.mat"

    def load(self, datasets: Any, folder: str, train: bool) -> Any:
        return datasets.SVHN(folder, split="train" if train else "test", download=True)


class Stl10(TorchvisionSet, name="stl10"):
    size, title, put = Known((3, 96, 96), 5_000, 8_000, 10), "STL10", "stl10_binary.tar.gz"

    def load(self, datasets: Any, folder: str, train: bool) -> Any:
        return datasets.STL10(folder, split="train" if train else "test", download=True)
