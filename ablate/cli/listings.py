"""Axes, options and recipes as text and as plain data: what `list`, `show` and `diff` print."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.config.profile import load_profile
from ablate.config.recipe import Recipe, build, load_plugins, overlay, read_specs
from ablate.core import code
from ablate.core.errors import SpecError
from ablate.core.registry import AXES
from ablate.cost.flops import count_flops


def plain(axes: Sequence[str]) -> dict[str, Any]:
    """`{axis: {contract, options: {name: {fields: {field: default}, doc}}}}`."""
    return {
        name: {
            "contract": AXES[name].contract,
            "options": {
                o: {"fields": _fields(name, o), "doc": AXES[name].doc(o)} for o in AXES[name].options
            },
        }
        for name in axes
    }


def _fields(axis: str, option: str) -> dict[str, Any]:
    found = AXES[axis].fields(option)
    return {
        f: None if d is dataclasses.MISSING else list(d) if isinstance(d, tuple) else d
        for f, d in found.items()
    }


def text(axes: Sequence[str]) -> str:
    """The same as text: a line per option, and the first line of its docstring; all of it for a single axis."""
    lines = []
    for name, axis in plain(axes).items():
        lines.append(f"{name}: {axis['contract']}")
        for option, entry in axis["options"].items():
            fields = ", ".join(f"{f}={v}" for f, v in entry["fields"].items())
            lines.append(f"  {option}({fields})" if fields else f"  {option}")
            doc = entry["doc"].splitlines() if len(axes) == 1 else entry["doc"].splitlines()[:1]
            lines += [f"      {line}" for line in doc]
    return "\n".join(lines)


def recipe_of(
    name: str, profile: str | None, overrides: Mapping[str, Any], runs: Path
) -> tuple[Recipe, dict[str, Any] | None]:
    """A recipe by name, file or key of a cell, adapted to the profile if there is one; the config if it is a cell's."""
    from ablate.core.files import read_json
    from ablate.planning.planner import image_shape
    from ablate.planning.rows import adapted
    from ablate.runs.store import Folder

    folder = Folder(runs / name)
    config = read_json(folder.config) if "/" not in name else None
    with code.kept(folder.code):
        with contextlib.suppress(
            SpecError
        ):  # of an older version, without copies: perhaps no option needs them
            load_plugins(config["imports"] if config else [])
        specs = config["specs"] if config else build(read_specs(name)).specs()
        if profile is None:
            return build(overlay(specs, overrides)), config
        loaded = load_profile(profile)
        specs = overlay(adapted(specs, loaded), overrides, loaded.adapt)
        return build(specs).for_images(image_shape(loaded)), config


def described(name: str, profile: str | None, overrides: Mapping[str, Any], runs: Path) -> dict[str, Any]:
    """`show`: the resolved recipe; for a cell its record; with a profile the size of its network."""
    from ablate.core.files import read_json

    recipe, config = recipe_of(name, profile, overrides, runs)
    shown: dict[str, Any] = {"recipe": recipe.flat()}
    if profile:
        loaded = load_profile(profile)
        shown |= {"profile": profile, "images": loaded.images, "batch": loaded.batch, "steps": loaded.steps}
        shown |= count_flops(recipe, loaded)
    if config:
        record = read_json(runs / name / "record.json") or {"state": "unfinished"}
        shown |= {k: v for k, v in record.items() if k not in ("recipe", "provenance")}
    return shown


def changes(a: str, b: str, found: Mapping[str, tuple[Any, Any]]) -> str:
    """`diff` for a terminal."""
    if not found:
        return f"{a} and {b} are the same recipe"
    rows = [("field", a, b), *((k, shown(old), shown(new)) for k, (old, new) in found.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def shown(value: Any) -> str:
    """A value as a terminal shows it."""
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
