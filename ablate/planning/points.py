"""How many points a search has, for the samplers that try each of them once; Optuna is not needed to count them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from ablate.config.recipe import Specs
from ablate.core.registry import AXES

EXHAUSTIVE = ("GridSampler", "BruteForceSampler")


def name_of(spec: object) -> str:
    """The name of the class in a file's `sampler` or `pruner`."""
    return str(spec.get("name") if isinstance(spec, Mapping) else spec)


def number(sampler: object, search: Mapping[str, Any], specs: Specs) -> int | None:
    """The number of points; None if the sampler repeats itself, or is refused by the study.

    Args:
        search: flat field -> list of values, or a mapping with `low` and `high`.
        specs: those of the row: its options have the fields, unless an option is searched.
    """
    given = sampler if isinstance(sampler, Mapping) else {}
    with suppress(AttributeError, KeyError, TypeError, ValueError):  # mistakes, which the study explains
        if name_of(sampler) == "PartialFixedSampler":
            free = {k: v for k, v in search.items() if k not in given["fixed_params"]}
            return number(given["base_sampler"], free, specs)
        if name_of(sampler) == "GridSampler" and "search_space" in given:
            return math.prod(len(set(given["search_space"][name])) for name in search)
        if name_of(sampler) in EXHAUSTIVE:
            return math.prod(_values(name, value, search, specs) for name, value in search.items())
    return None


def _values(name: str, value: Any, search: Mapping[str, Any], specs: Specs) -> int:
    """How many values a searched field has.

    Raises:
        ValueError: infinitely many.
    """
    if isinstance(value, list):
        return len(value)
    step = value.get("step")
    axis, _, field = name.partition(".")
    options = search[axis] if axis in search else [specs[axis]["name"]]
    having = next(option for option in options if field in AXES[axis].fields(option))
    if step is None and AXES[axis].schema(having, field).get("type") == "integer":
        step = 1
    if step is None:
        raise ValueError(f"{name}: a range without steps")
    return steps(value["low"], value["high"], step)


def steps(low: float, high: float, step: float) -> int:
    """How many values a range with steps has, its ends included."""
    return int((Decimal(repr(high)) - Decimal(repr(low))) / Decimal(repr(step))) + 1
