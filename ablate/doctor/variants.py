"""Recipes that differ in one field, within its bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ablate.config.recipe import Recipe
from ablate.core.errors import SpecError
from ablate.core.registry import AXES, connect, dependencies, values


def candidates(recipe: Recipe, axis: str, field: str) -> list[Recipe]:
    """Recipes that differ in this field only, within its bounds."""
    part = getattr(recipe, axis)
    hint = get_type_hints(type(part), include_extras=True)[field]
    tried = (rebuilt(recipe, axis, {field: v}) for v in others(getattr(part, field), hint))
    return [r for r in tried if r is not None]


def beside(recipe: Recipe, axis: str) -> Iterator[Recipe]:
    """Recipes with another option of an axis on which the ingredient of `axis` depends."""
    option: Any = type(getattr(recipe, axis))
    for other in dependencies(option).values():
        for name in AXES[other].options:
            if name == getattr(recipe, other).name:
                continue
            missing = [f for f, default in AXES[other].fields(name).items() if default is MISSING]
            try:
                part = AXES[other].build({"name": name, **dict.fromkeys(missing, "any")})
                made = Recipe(**connect({**recipe.parts(), other: part})).from_scratch()
            except Exception:  # an option may need more than a word, such as a package
                continue
            yield made


def others(value: Any, hint: Any = None) -> list[Any]:
    """Other values of the same kind, those most likely to have an effect first."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [v for v in (value * 2, value + 1, value // 2, 3, 1) if v != value]
    if isinstance(value, float):
        return [v for v in (value * 0.5, value * 1.25, value + 0.25, 0.5) if v != value]
    if isinstance(value, str):
        return [v for v in _literals(hint) if v != value]
    if isinstance(value, tuple):
        first = [[v, *value[1:]] for v in others(value[0])] if value else [[8]]
        return [*first, *([list(value[:1]), []] if len(value) > 1 else [[]])]
    return [1e-3, 0.5, 1] if value is None else []


def _literals(hint: Any) -> list[Any]:
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [v for part in get_args(hint) for v in _literals(part)]


def rebuilt(recipe: Recipe, axis: str, fields: dict[str, Any]) -> Recipe | None:
    """`recipe` with changed fields of the ingredient of `axis`; None if they are out of bounds."""
    part, parts = getattr(recipe, axis), recipe.parts()
    try:
        parts[axis] = AXES[axis].build({"name": part.name, **values(part), **fields})
        return Recipe(**connect(parts))
    except SpecError:
        return None
