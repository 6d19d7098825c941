"""The plan kinds: each turns an entry of `plan` into rows. `factorial` has a module of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from ablate.core import yaml_files
from ablate.core.errors import Problems, SpecError, is_one_line, nearest, yaml_hint
from ablate.core.registry import AXES
from ablate.core.typed import text_of
from ablate.planning import factorial
from ablate.planning.unbuilt_rows import Draft, Planner, ends, format_change, format_overrides, label_of

MOST_ROWS = 100_000


def _list(planner: Planner, value: Any, path: str) -> list[Draft]:
    """Rows that the file spells out: `{label, set, base}`."""
    if not isinstance(value, list):
        raise SpecError(f"{path}: needs a list of rows, not {type(value).__name__} {str(value)[:40]!r}")
    drafts = []
    for i, entry in enumerate(value):
        with planner.problems:
            row = yaml_files.mapping(entry, f"{path}[{i}]")
            unknown = [k for k in row if k not in ("label", "set", "base")]
            if unknown:
                raise SpecError(
                    *(
                        f"{path}[{i}].{k}: unknown key; {nearest(k, ('label', 'set', 'base'))}"
                        for k in unknown
                    )
                )
            overrides = yaml_files.mapping(row.get("set", {}), f"{path}[{i}].set")
            base = row.get("base", planner.default_base)
            planner.recipe_specs(base, f"{path}[{i}].base" if "base" in row else "base")
            label = (
                _label(row.get("label"), f"{path}[{i}].label")
                or format_overrides(overrides)
                or label_of(base)
            )
            drafts.append(_draft(planner, label, "list", base, overrides, f"{path}[{i}].set"))
    return drafts


def _label(value: Any, path: str) -> str:
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
        raise SpecError(f"{path}: {value!r} is not text{yaml_hint(value)}")
    label = "" if value is None else text_of(value) or str(value)
    if not is_one_line(label):
        raise SpecError(f"{path}: {value!r}: a label is one line without control characters")
    if value is not None and not any(c.isprintable() and not c.isspace() for c in label):
        raise SpecError(f"{path}: {value!r}: a label has something to see; without `label` the row gets one")
    return label


def _draft(
    planner: Planner, label: str, section: str, base: Any, overrides: Mapping[str, Any], path: str
) -> Draft:
    specs = planner.resolved(base, overrides, path)
    against = planner.resolved(base, {}, path)
    return Draft(label, section, specs, label_of(base), against, named=tuple(overrides))


def _columns(value: Any, path: str) -> dict[str, list[Any]]:
    columns = yaml_files.mapping(value, path)
    if not columns:
        raise SpecError(f"{path}: needs at least one field")
    wrong = [
        f"{path}.{k}: needs a list of values, not {v!r}"
        for k, v in columns.items()
        if not isinstance(v, list)
    ]
    wrong += [f"{path}.{k}: the list is empty" for k, v in columns.items() if v == []]
    if wrong:
        raise SpecError(*wrong)
    return columns


def _grid(planner: Planner, value: Any, path: str) -> list[Draft]:
    """Every combination of the values."""
    columns = _columns(value, path)
    size = 1
    for listed in columns.values():
        size *= len(listed)
    if size > MOST_ROWS:
        raise SpecError(f"{path}: {size} rows; at most {MOST_ROWS}")
    return _combined(planner, "grid", columns, itertools.product(*columns.values()), path)


def _zip(planner: Planner, value: Any, path: str) -> list[Draft]:
    """One row of all first values, one of all second values, and so on."""
    columns = _columns(value, path)
    if len({len(v) for v in columns.values()}) > 1:
        lengths = ", ".join(f"{k} has {len(v)}" for k, v in columns.items())
        raise SpecError(f"{path}: the lists must be equally long, but {lengths}")
    return _combined(planner, "zip", columns, zip(*columns.values(), strict=True), path)


def _combined(
    planner: Planner, kind: str, columns: dict[str, list[Any]], rows: Any, path: str
) -> list[Draft]:
    planner.recipe_specs(planner.default_base, "base")
    drafts = []
    for row in rows:
        overrides = dict(zip(columns, row, strict=True))
        with planner.problems:
            drafts.append(
                _draft(planner, format_overrides(overrides), kind, planner.default_base, overrides, path)
            )
    return drafts


def _ladder(planner: Planner, value: Any, path: str) -> list[Draft]:
    """From one recipe to another, one more axis per row: first those in `order`, then the others in their own order."""
    low, start, high, end = ends(planner, value, path, ("order",))
    order = value.get("order", [])
    if not isinstance(order, list):
        raise SpecError(f"{path}.order: needs a list of axes, not {order!r}")
    raw = [planner.recipe_specs(value[side], path) for side in ("from", "to")]
    problems = Problems()
    for i, axis in enumerate(order):
        if axis not in AXES:
            problems.add(f"{path}.order[{i}]: {axis!r} is not an axis; {nearest(axis, AXES)}")
        elif axis in order[:i]:
            problems.add(f"{path}.order[{i}]: {axis!r} is listed twice")
        elif raw[0][axis] == raw[1][axis]:
            problems.add(f"{path}.order[{i}]: {low} and {high} have the same {axis}")
    problems.check()
    axes = [a for a in dict.fromkeys([*order, *AXES]) if start[a] != end[a]]
    drafts, specs = [Draft(low, "ladder", start, low, start)], start
    for axis in axes:
        before, specs = specs, {**specs, axis: end[axis]}
        label = high if axis == axes[-1] else f"+ {format_change(axis, before[axis], specs[axis])}"
        drafts.append(Draft(label, "ladder", specs, drafts[-1].label, before))
    return drafts


def _leave_one_out(planner: Planner, value: Any, path: str) -> list[Draft]:
    """The first recipe, then one row per axis that takes this axis from the second recipe."""
    high, start, _low, end = ends(planner, value, path)
    drafts = [Draft(high, "leave_one_out", start, high, start)]
    for axis in (a for a in AXES if start[a] != end[a]):
        label = f"{high} with {format_change(axis, start[axis], end[axis])}"
        drafts.append(Draft(label, "leave_one_out", {**start, axis: end[axis]}, high, start))
    return drafts


KINDS: dict[str, Callable[[Planner, Any, str], list[Draft]]] = {
    "list": _list,
    "grid": _grid,
    "zip": _zip,
    "leave_one_out": _leave_one_out,
    "ladder": _ladder,
    "factorial": factorial.drafts,
}
