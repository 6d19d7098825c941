"""Published FIDs, each with its source, and which row of a table is the published method."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from ablate.config.profile import Profile
from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.core.section import Section, explain

if TYPE_CHECKING:
    from ablate.planning.cells import Row

FILE = "reference.yaml"
Positive = Annotated[float, Field(gt=0)]


class Published(Section):
    """One printed FID; `recipe` is the method's shipped recipe, `but` what the published run had instead."""

    method: str
    dataset: str
    nfe: Annotated[int, Field(gt=0)]
    fid: Positive
    params_m: Positive | None
    batch: Annotated[int, Field(gt=0)] | None
    steps: Annotated[int, Field(gt=0)] | None
    source: Annotated[str, Field(min_length=1)]
    recipe: str | None = None
    but: dict[str, Any] = Field(default_factory=dict)


class Protocol(Section):
    """The measurement behind the published FIDs."""

    extractor: str
    samples: int
    against: str


class Reference(Section):
    """The content of `reference.yaml`."""

    protocol: Protocol
    published: list[Published]

    def of(self, recipe: str, dataset: str) -> dict[int, Published]:
        """The published FIDs of the method whose shipped recipe this is, by number of evaluations."""
        return {p.nfe: p for p in self.published if p.recipe == recipe and p.dataset == dataset}


def location() -> Path | None:
    """The file in use: from the current folder, beside the package, or inside it; None where there is none."""
    return next((file for file in yaml_files.folders(FILE) if file.is_file()), None)


def load() -> Reference | None:
    """The published numbers, None where there is no file.

    Raises:
        SpecError: unknown keys or values of the wrong type; all errors are reported together.
    """
    file = location()
    return _load(file, file.stat().st_mtime_ns) if file else None


@lru_cache(maxsize=4)
def _load(file: Path, _changed: int) -> Reference:
    try:
        return Reference.model_validate(yaml_files.mapping(yaml_files.read(file), str(file)))
    except ValidationError as error:
        raise explain(error, str(file), Reference) from None


def dataset(profile: Profile) -> str:
    """The data set whose published numbers a profile is shown with."""
    return "ImageNet-64" if profile.name.startswith("imagenet64") else "CIFAR-10"


class Methods:
    """The published methods that have a recipe, at a profile's scale."""

    def __init__(self, reference: Reference, profile: Profile):
        self.reference, self.dataset = reference, dataset(profile)
        named = {p.recipe: p.but for p in reference.published if p.recipe}
        self.known = {name: (_flat(name, profile), but) for name, but in named.items()}

    def of(self, row: Row) -> dict[int, Published]:
        """The FIDs published for a row's recipe, by number of evaluations; empty where nobody published it."""
        flat = row.recipe.flat()
        for name, (shipped, but) in self.known.items():
            other = [
                k for k in {**shipped, **flat} if k.split(".")[0] not in but and shipped.get(k) != flat.get(k)
            ]
            as_published = shipped and not other
            if as_published and all(flat.get(k) in (shipped.get(k), v) for k, v in but.items()):
                return self.reference.of(name, self.dataset)
        return {}


def _flat(name: str, profile: Profile) -> dict[str, Any]:
    """The shipped recipe at a profile's scale, without any `set`; empty where there is none."""
    from ablate.config.recipe import build, read_specs
    from ablate.planning.planner import image_shape
    from ablate.planning.rows import adapted

    try:
        return build(adapted(read_specs(name), profile)).for_images(image_shape(profile)).flat()
    except SpecError:  # renamed by a user, or of another image size: then no row is that method
        return {}
