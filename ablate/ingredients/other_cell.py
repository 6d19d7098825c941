"""Fields and methods of the options that read the finished cell of another recipe."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ablate.core.registry import AXES, Need

WEIGHTS = "model.safetensors"  # of a finished cell's folder, of an export and of a converted checkpoint


@dataclass(frozen=True)
class OfRecipe:
    """The fields of an option that needs the cell of another recipe; the key has that cell's key instead of them."""

    recipe: Annotated[str, Field(min_length=1)]
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    excluded_from_key = ("recipe", "share")
    reads_files = True

    def needs(self) -> Need:
        """The cell of the other recipe."""
        return Need(self.recipe, self.share)


@dataclass(frozen=True)
class NetworkOfRecipe(OfRecipe):
    """An option that keeps the averaged network of that cell as it is."""

    @abstractmethod
    def filled(self, path: str) -> Any:
        """The option with the file of the weights; empty: random ones."""

    def given(self, folder: Path) -> Any:
        """With the weights in the folder of that cell."""
        return self.filled(str(folder / WEIGHTS))

    def untrained(self) -> Any:
        """With random weights."""
        return self.filled("")

    def weights(self) -> Any:
        """What refuses to fill a network: only `given` knows the cell."""
        return AXES["init_from"].build({"name": "recipe", "recipe": self.recipe})


def filling(path: str) -> Any:
    """The option of `init_from` with the weights of a file; with an empty path, with random ones."""
    return AXES["init_from"].build({"name": "file", "path": path} if path else "scratch")
