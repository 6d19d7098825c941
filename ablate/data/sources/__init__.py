"""Where images come from, one module each. `profile.data.name` chooses a source by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ablate.config.profile import Data
from ablate.core import plugins
from ablate.core.errors import SpecError, nearest
from ablate.core.files import typed_path
from ablate.data.archives import KEY, shown
from ablate.data.survey import Survey, peculiar

# the keys of `Data` that only some sources take
CHOSEN = ("path", "test_path", "holdout", "config", "split", "test_split", "revision", "image", "label")


@dataclass(frozen=True)
class Known:
    """A set whose size is known without reading it: (C, H, W), images to train on and held out, classes.

    Of a set without held-out images (0) the last ones are held out.
    """

    shape: tuple[int, int, int]
    train: int
    held_out: int
    classes: int


class Source(ABC):
    """A source of images, found by the name that its class gives: `class Mine(Source, name="mine")`.

    takes: the keys of CHOSEN that it reads. needs: those without which there is nothing to read. holdout: how many of
    its images are held out by default; None: a tenth. kept: whether decoded images are kept in the cache.
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[str, ...]] = ("path", "test_path", "holdout")
    needs: ClassVar[tuple[str, ...]] = ("path",)
    holdout: ClassVar[int | None] = None
    kept: ClassVar[bool] = True

    def __init_subclass__(cls, name: str = "") -> None:
        if name:
            cls.name = name
            SOURCES[name] = cls()

    def known(self, spec: Data) -> Known | None:
        """What is known of the set without reading it; None if it must be surveyed."""
        return None

    @abstractmethod
    def surveys(self, spec: Data) -> list[Survey]:
        """The images to train on and, if they are apart, the held-out ones.

        Raises:
            SpecError: they cannot be read.
        """

    def describe(self, spec: Data, train: Sequence[str], held_out: Sequence[str]) -> str:
        """Where the images with these names come from, for reports."""
        kinds = sorted({Path(name).suffix.lower() for name in (*train, *held_out)})
        names = [shown(Path(p).name) for p in (spec.path, spec.test_path) if p]
        return (
            f"{' and '.join(names)}, {len(train):,} and {len(held_out):,} images of kind {', '.join(kinds)}"
        )

    def remarks(self, spec: Data) -> list[str]:
        """What is left out of the files, and what is done to the images besides resizing."""
        if self.known(spec):
            return []
        lines = [line for s in self.surveys(spec) for line in (s.left_out, peculiar(s.headers.values()))]
        return list(dict.fromkeys(filter(None, lines)))

    def release(self) -> None:  # noqa: B027  most sources put nothing there
        """Let go of what reading the images has put into memory; called when all are decoded."""

    def check(self, spec: Data) -> None:
        """Check that `spec` has the keys that this source needs, and no others.

        Raises:
            SpecError: it has not.
        """
        problems = [
            f"{KEY}.{key}: {getattr(spec, key)!r}: {self.name} takes no {key}"
            for key in CHOSEN
            if key not in self.takes and getattr(spec, key) is not None
        ]
        # empty text would be the current folder
        problems += [f"{KEY}.{k}: {self.name} needs a {k} here" for k in self.needs if not getattr(spec, k)]
        for apart in ("test_path", "test_split"):
            if getattr(spec, apart) is not None and spec.holdout is not None:
                problems.append(f"{KEY}.holdout: {spec.holdout}: {apart} names the held-out images already")
        if problems:
            raise SpecError(*problems)


SOURCES: dict[str, Source] = {}


def find(spec: Data) -> Source:
    """The source that `spec` names.

    Raises:
        SpecError: there is none of this name.
    """
    if spec.name not in SOURCES:
        raise SpecError(f"{KEY}.name: {spec.name!r}: no such data; {nearest(spec.name, SOURCES)}")
    return SOURCES[spec.name]


def located(spec: Data, key: str) -> Path:
    """The file or folder that a key of `spec` names.

    Raises:
        SpecError: there is none.
    """
    path = typed_path(given := getattr(spec, key), f"{KEY}.{key}")
    if not path.exists():
        raise SpecError(f"{KEY}.{key}: {given!r}: no such file or folder")
    return path


plugins.load(__name__, "ablate.sources")
