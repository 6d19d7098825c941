"""Which rows a claim is about: by label, by their fields, or as a sweep over one field."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablate.core.errors import SpecError, nearest
from ablate.core.typed import text_of
from ablate.planning.cells import Row
from ablate.statistics.effect import Sample

OWN = ("row", "nfe")  # keys of a side that are not fields of a recipe
# fields whose values are lists themselves
LISTS = ("network.multipliers", "network.attention", "optimizer.betas")
Flat = Mapping[str, Any]
Contexts = tuple[tuple[Sample, Sample], ...]  # two samples in each place where all else is equal
Sweep = list[tuple[float, Sample]]  # values of a field, ascending, with their samples


def alternatives(side: Flat) -> list[dict[str, Any]]:
    """A side of a comparison with each of its listed values."""
    options = [v if isinstance(v, list) and v and k not in LISTS else [v] for k, v in side.items()]
    return [dict(zip(side, values, strict=True)) for values in itertools.product(*options)]


def side(given: dict[str, Any]) -> dict[str, Any]:
    """A side of a comparison, if its number of evaluations is one.

    Raises:
        ValueError: it is not.
    """
    if isinstance(nfe := given.get("nfe", 1), bool) or not isinstance(nfe, int) or nfe < 1:
        raise ValueError(f"nfe: needs a number of evaluations, not {nfe!r}")
    return given


def contexts(sides: Mapping[str, Flat], rows: Sequence[Row], nfe: int) -> list[Contexts]:
    """The samples that the two sides of a comparison name, for each of their alternatives.

    Args:
        sides: by their keys in the claim.
    Raises:
        SpecError: an alternative has none.
    """
    flats = [row.recipe.flat() for row in rows]
    chosen = itertools.product(*map(alternatives, sides.values()))
    return [tuple(_places(dict(zip(sides, pair, strict=True)), rows, flats, nfe)) for pair in chosen]


def _places(
    sides: Mapping[str, Flat], rows: Sequence[Row], flats: Sequence[Flat], nfe: int
) -> Iterator[tuple[Sample, Sample]]:
    """Pairs of rows that differ as the sides do; rows with equal cells count once."""
    first, second = sides.values()
    free = {k for k in {**first, **second} if k not in OWN and first.get(k, ...) != second.get(k, ...)}
    named = "row" in first or "row" in second
    left, right = (matching(given, rows, flats, key) for key, given in sides.items())
    steps = [int(given.get("nfe", nfe)) for given in (first, second)]
    seen = set[Any]()
    for a, b in itertools.product(left, right):
        fits = (a != b or steps[0] != steps[1]) and (named or equal_but(flats[a], flats[b], free))
        if fits and (rows[a].keys, rows[b].keys) not in seen:
            seen.add((rows[a].keys, rows[b].keys))
            yield Sample(a, steps[0]), Sample(b, steps[1])
    if not seen:
        shown = f"{rows[left[0]].label!r} and {rows[right[0]].label!r}"
        raise SpecError(f"no two rows differ in {', '.join(sorted(free)) or 'nfe'} alone: {shown}")


def names(places: Contexts, rows: Sequence[Row]) -> str:
    """The labels of a comparison's rows."""
    first, second = (rows[sample.row].label for sample in places[0])
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return (f"{first} against {second}" if first != second else first) + more


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
        nowhere = [(k, v) for k, v in fields.items() if not any(has(flat, {k: v}) for flat in flats)]
        right = [nearest(str(v), {str(flat[k]) for flat in flats if k in flat}) for k, v in nowhere[:1]]
        raise SpecError("; ".join([f"{path}: no row has {wanted or 'anything'}", *right]))
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
