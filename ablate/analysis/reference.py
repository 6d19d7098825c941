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
    """One printed FID.

    params_m: the network's parameters, in millions. recipe: the shipped recipe of the row that it belongs beside; set:
    what this row changes in the recipe; but: axes, or fields of their options, of which the published run had something
    else, a value or words.
    """

    method: str
    dataset: str
    nfe: Annotated[int, Field(gt=0)]
    fid: Positive
    params_m: Positive | None
    batch: Annotated[int, Field(gt=0)] | None
    steps: Annotated[int, Field(gt=0)] | None
    source: Annotated[str, Field(min_length=1)]
    recipe: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)
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


Numbers = dict[int, Published]  # what a method's paper prints for a row, by number of evaluations
# of which a profile is shown one; tables of other sets are shown with any profile
SETS = ("CIFAR-10", "ImageNet-64")


class Methods:
    """The published methods that are a shipped recipe, or a change of one, at a profile's scale."""

    def __init__(self, reference: Reference, profile: Profile):
        self.reference = reference
        groups = dict[str, list[Published]]()
        for p in reference.published:
            if p.recipe:
                groups.setdefault(repr((p.method, p.recipe, p.set)), []).append(p)
        # read once for all rows
        flats = {repr((p.recipe, p.set)): _flat(p, profile) for p, *_ in groups.values()}
        self.known = [
            (flats[repr((group[0].recipe, group[0].set))], numbers)
            for group in groups.values()
            if (numbers := _numbers(group, dataset(profile)))
        ]

    def of(self, row: Row) -> list[Numbers]:
        """What each paper prints for a row's recipe, in the order of the file; empty where nobody published it."""
        flat = row.recipe.flat()
        return [
            numbers
            for shipped, numbers in self.known
            if shipped and _same(flat, shipped, next(iter(numbers.values())).but)
        ]


def _numbers(group: list[Published], dataset: str) -> Numbers:
    """The numbers of the data set, or of the first that is not in `SETS`."""
    elsewhere = next((p.dataset for p in group if p.dataset not in SETS), None)
    return {p.nfe: p for p in group if p.dataset == dataset} or {
        p.nfe: p for p in group if p.dataset == elsewhere
    }


def _same(flat: dict[str, Any], shipped: dict[str, Any], but: dict[str, Any]) -> bool:
    """Whether a recipe is the shipped one, or has options of the published run instead."""
    replaced = {field for field, value in but.items() if flat.get(field) == value}
    other = {k for k in {**shipped, **flat} if shipped.get(k) != flat.get(k)}
    return all(replaced & {k, k.split(".")[0]} for k in other)


def _flat(published: Published, profile: Profile) -> dict[str, Any]:
    """The row's recipe at a profile's scale, without any `set` of a file; empty where there is none."""
    from ablate.config.recipe import build, overlay, read_specs
    from ablate.planning import budgets, needs
    from ablate.planning.planner import image_shape
    from ablate.planning.rows import adapted

    try:
        specs = adapted(read_specs(str(published.recipe)), profile)
        recipe = build(overlay(specs, published.set, profile.adapt)).for_images(image_shape(profile))
        return budgets.fitted(recipe, needs.own_share(needs.declared(recipe)), published.set).flat()
    except SpecError:  # renamed by a user, or of another image size: then no row is that method
        return {}
