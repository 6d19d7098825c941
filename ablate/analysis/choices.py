"""The design choices of the two recipes between which a ladder, a factorial or a leave-one-out lies, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ablate.analysis.lines import PAIRED, groups

if TYPE_CHECKING:
    from ablate.planning.cells import Row

Flat = Mapping[str, Any]


def ends(rows: Sequence[Row]) -> tuple[str, Flat, str, Flat] | None:
    """Name and flat fields of both recipes; None without ladder, factorial and leave-one-out."""
    found = {
        rows[g[0]].section: [rows[i] for i in g]
        for g in reversed(groups(rows))
        if rows[g[0]].section in PAIRED
    }
    if way := found.get("ladder") or found.get("factorial"):
        return way[0].label, way[0].recipe.flat(), way[-1].label, way[-1].recipe.flat()
    if "leave_one_out" not in found:
        return None
    whole, *others = found["leave_one_out"]
    return "without", _joined(others, whole.recipe.flat()), whole.label, whole.recipe.flat()


def _joined(others: Sequence[Row], start: Flat) -> dict[str, Any]:
    """`start` with the axis that each of the rows left out."""
    flat = dict(start)
    for row in others:
        for axis in {name.split(".", 1)[0] for name in row.changed}:
            kept = {k: v for k, v in flat.items() if k.split(".", 1)[0] != axis}
            flat = kept | {k: v for k, v in row.recipe.flat().items() if k.split(".", 1)[0] == axis}
    return flat


def side_by_side(left: Flat, right: Flat) -> tuple[list[list[str]], str]:
    """Lines (axis, left, right) of what differs, and everything in common as one list in words."""
    differing = {k for k in {**left, **right} if left.get(k, ...) != right.get(k, ...)}
    axes = [axis for axis in {**right, **left} if "." not in axis]
    table = []
    for axis in (a for a in axes if any(k.split(".", 1)[0] == a for k in differing)):
        only = None if axis in differing else differing  # the same option: show the fields that differ
        table.append([axis, _option(axis, left, only), _option(axis, right, only)])
    common = {k: v for k, v in left.items() if k not in differing}
    options = [f"{axis} {_option(axis, common)}" for axis in axes if axis in common]
    return table, ", ".join(options)


def _option(axis: str, flat: Flat, only: set[str] | None = None) -> str:
    """An option with its fields: `exponential (s0 10, s1 1280)`."""
    if axis not in flat:
        return "-"
    fields = {
        k.split(".", 1)[1]: v for k, v in flat.items() if k.startswith(f"{axis}.") and (not only or k in only)
    }
    inside = ", ".join(f"{name} {format_value(value)}" for name, value in fields.items())
    return f"{flat[axis]} ({inside})" if inside else str(flat[axis])


def format_value(value: Any) -> str:
    """A value as a page shows it: floats with four digits, None as `unset`."""
    if value is None:
        return "unset"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
