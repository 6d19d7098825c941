"""Which rows a claim is about: by label, by their fields, or as a sweep over one field."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ablate.core.errors import SpecError, nearest
from ablate.core.typed import text_of
from ablate.planning.cells import Row
from ablate.statistics.paired import Sample

OWN = ("row", "nfe")  # keys of a side that are not fields of a recipe
LISTS = (
    "network.multipliers",
    "network.attention",
    "optimizer.betas",
)  # fields whose values are lists themselves
Flat = Mapping[str, Any]
Sweep = list[tuple[float, Sample]]  # values of a field, ascending, with their samples


def alternatives(side: Flat) -> list[dict[str, Any]]:
    """A side of a comparison with each of its listed values."""
    options = [v if isinstance(v, list) and v and k not in LISTS else [v] for k, v in side.items()]
    return [dict(zip(side, values, strict=True)) for values in itertools.product(*options)]


def labelled(label: str, rows: Sequence[Row], path: str) -> int:
    """The index of the first row with this label.

    Raises:
        SpecError: no row has it.
    """
    labels = [row.label for row in rows]
    if label not in labels:
        raise SpecError(f"{path}: no row {label!r}; {nearest(label, labels)}")
    return labels.index(label)


def matching(side: Flat, rows: Sequence[Row], flats: Sequence[Flat], path: str) -> list[int]:
    """Indices of the rows that have a side's values, and its label if it names one.

    Raises:
        SpecError: no row has them.
    """
    fields = {k: v for k, v in side.items() if k not in OWN}
    _known(fields, flats, f"{path}: ")
    labels = {row.label for row in rows}
    if "row" in side:
        label = text_of(side["row"]) or str(side["row"])
        labelled(label, rows, path)
        labels = {label}
    matches = [i for i, row in enumerate(rows) if row.label in labels and has(flats[i], fields)]
    if not matches:
        wanted = ", ".join(f"{k}={v}" for k, v in side.items() if k != "nfe")
        raise SpecError(f"{path}: no row has {wanted or 'anything'}")
    return matches


def has(flat: Flat, fields: Flat) -> bool:
    """Whether a recipe has these fields with these values."""

    def same(held: Any, value: Any) -> bool:
        return bool(held == value) or (isinstance(held, str) and held == text_of(value))

    return all(name in flat and same(flat[name], value) for name, value in fields.items())


def equal_but(a: Flat, b: Flat, free: set[str]) -> bool:
    """Whether two recipes agree in all fields that are not free; with an option, its fields are free."""
    names = a.keys() | b.keys()
    differing = (k for k in names if a.get(k, ...) != b.get(k, ...))
    return all(k in free or k.split(".")[0] in free for k in differing)


def sweep(field: str, where: Flat, nfe: int, rows: Sequence[Row]) -> Sweep:
    """The most rows that differ in `field` alone, among those that have the values in `where`.

    Raises:
        SpecError: they are fewer than three, or there are two such sweeps.
    """
    flats = [row.recipe.flat() for row in rows]
    _known([field], flats)
    groups: dict[str, dict[float, Sample]] = {}
    for i, flat in enumerate(flats):
        value = flat.get(field)
        if has(flat, where) and isinstance(value, (int, float)) and not isinstance(value, bool):
            rest = repr({k: v for k, v in flat.items() if k != field})
            groups.setdefault(rest, {}).setdefault(float(value), Sample(i, nfe))
    sizes = sorted((len(group) for group in groups.values()), reverse=True)
    if not sizes or sizes[0] < 3:
        raise SpecError(f"{field}: needs three rows that differ in this field alone")
    if len(sizes) > 1 and sizes[0] == sizes[1]:
        raise SpecError(f"{field}: more than one sweep of {sizes[0]} values; choose one with `where`")
    return sorted(max(groups.values(), key=len).items())


def values(points: Sweep) -> str:
    """The values of a sweep, for a message."""
    return ", ".join(f"{value:g}" for value, _ in points) or "none"


def ordered(inside: Sequence[float] | None) -> Sequence[float] | None:
    """Bounds of a range, if they ascend.

    Raises:
        ValueError: they do not.
    """
    if inside and not inside[0] <= inside[1]:
        raise ValueError(f"needs [low, high] with low <= high, not {list(inside)}")
    return inside


def _known(names: Sequence[str] | Flat, flats: Sequence[Flat], path: str = "") -> None:
    for name in names:
        if not any(name in flat for flat in flats):
            raise SpecError(f"{path}no field {name!r}; {nearest(name, {n for flat in flats for n in flat})}")
