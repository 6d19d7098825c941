"""The plan kind `factorial`: combinations of the axes of two recipes, all of them or a regular fraction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ablate.config.recipe import Specs
from ablate.core.errors import Problems, SpecError, nearest
from ablate.core.registry import AXES
from ablate.core.typed import shown
from ablate.planning.cells import Row
from ablate.planning.unbuilt_rows import Draft, Planner, ends
from ablate.statistics import designs

KIND = "factorial"
FULL = "full"
SIZES = (FULL, *designs.RESOLUTIONS)
MOST_AXES = 16  # of a full factorial: 65,536 rows


def drafts(planner: Planner, value: Any, path: str) -> list[Draft]:
    """A row per run of the design, from `from` to `to`.

    A fraction of an odd resolution leaves `from` out. It is then a row without levels: every change still has its base.
    """
    low, start, high, end = ends(planner, value, path, ("axes", "resolution", "runs"))
    problems = Problems()
    axes = _axes(value, start, end, f"{low} and {high}", path, problems)
    design = _design(value, len(axes), path, problems)
    problems.check()
    whole = set(axes) == {a for a in AXES if start[a] != end[a]}
    base = Draft(low, KIND, start, low, start, levels=dict.fromkeys(axes, -1))
    others = list[Draft]()
    for run in sorted(design.tolist(), key=sum):
        levels = dict(zip(axes, run, strict=True))
        changed = [axis for axis in axes if levels[axis] > 0]
        label = high if whole and len(changed) == len(axes) else " + ".join([low, *changed])
        specs = start | {axis: end[axis] for axis in changed}
        others += [Draft(label, KIND, specs, low, start, levels=levels)] if changed else []
    outside = len(others) == len(design)
    return [Draft(low, KIND, start, low, start) if outside else base, *others]


def _axes(
    value: Mapping[str, Any], start: Specs, end: Specs, both: str, path: str, problems: Problems
) -> list[str]:
    """The axes that the file names, or all in which the two recipes differ."""
    differing = [a for a in AXES if start[a] != end[a]]
    named = value.get("axes", differing)
    if not isinstance(named, list):
        problems.add(f"{path}.axes: needs a list of axes, not {shown(named)}")
        return []
    for i, axis in enumerate(named):
        if not isinstance(axis, str) or axis not in AXES:
            problems.add(f"{path}.axes[{i}]: {shown(axis)} is not an axis; {nearest(axis, AXES)}")
        elif axis not in differing:
            problems.add(f"{path}.axes[{i}]: {axis!r} is the same in {both}; {_differ(differing)}")
        elif axis in named[:i]:
            problems.add(f"{path}.axes[{i}]: {axis!r} is listed twice")
    if len(named) < 2:
        problems.add(f"{path}.axes: needs two axes at least, not {len(named)}; {_differ(differing)}")
    # wrong ones count for the design
    return [*dict.fromkeys(axis for axis in named if isinstance(axis, str))]


def _differ(axes: Sequence[str]) -> str:
    return f"the recipes differ in {', '.join(axes) or 'no axis'}"


def _design(value: Mapping[str, Any], axes: int, path: str, problems: Problems) -> Any:
    """The levels of every run, an array (runs, axes); None with a problem."""
    if ("resolution" in value) == ("runs" in value):
        both = ", and has both; leave one out" if "runs" in value else ""
        problems.add(f"{path}: needs either `resolution` ({', '.join(SIZES)}) or `runs`{both}")
        return None
    try:
        return _by_runs(value["runs"], axes, path) if "runs" in value else _by_resolution(value, axes, path)
    except SpecError as error:
        problems.add(*error.problems)
        return None


def _by_resolution(value: Mapping[str, Any], axes: int, path: str) -> Any:
    wanted = value["resolution"]
    if not isinstance(wanted, str) or wanted not in SIZES:
        raise SpecError(f"{path}.resolution: {shown(wanted)}: needs one of {', '.join(SIZES)}")
    if axes < 2:  # _axes says so
        return None
    if wanted == FULL:
        if axes > MOST_AXES:
            raise SpecError(f"{path}.resolution: full: {2**axes} rows of {axes} axes; at most {2**MOST_AXES}")
        return designs.full(axes)
    if axes > designs.MOST_AXES:
        raise SpecError(
            f"{path}.resolution: {wanted}: {axes} axes; a fraction has at most {designs.MOST_AXES}"
        )
    if (size := designs.smallest(axes, designs.RESOLUTIONS[wanted])) is None:
        raise SpecError(
            f"{path}.resolution: {wanted}: no fraction of {axes} axes has it; "
            f"the smallest design that has is `full`, {2**axes} rows"
        )
    return designs.fraction(axes, size)


def _by_runs(size: Any, axes: int, path: str) -> Any:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise SpecError(f"{path}.runs: needs a whole number from 1, not {shown(size)}")
    if axes < 2:
        return None
    there = [*designs.runs(axes), *([2**axes] if axes <= MOST_AXES else [])]
    if size & (size - 1):
        near = min(there, key=lambda n: abs(n - size))
        raise SpecError(f"{path}.runs: {size} is no power of two; did you mean {near}?")
    if size not in there:
        raise SpecError(f"{path}.runs: {size}: {axes} axes have designs of {', '.join(map(str, there))} runs")
    return designs.full(axes) if size == 2**axes else designs.fraction(axes, size)


def factorials(rows: Sequence[Row]) -> list[dict[int, Mapping[str, int]]]:
    """The levels of the rows of each factorial, by row, apart for each budget and for tuned rows.

    A factorial begins with its unchanged row.
    """
    found, before = list[dict[int, Mapping[str, int]]](), None
    for i, row in enumerate(rows):
        if row.section == KIND:
            kind = row.budget, bool(row.tuned)
            found += [{}] if not row.written.changed or kind != before else []
            found[-1] |= {i: row.levels} if row.levels else {}
            before = kind
    return [levels for levels in found if levels]
