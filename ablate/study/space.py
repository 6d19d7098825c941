"""Reads the search space of a study file as Optuna's distributions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ablate.config.recipe import Specs
from ablate.core.errors import Problems, SpecError, nearest
from ablate.core.registry import AXES
from ablate.planning import points

KEYS = ("low", "high", "log", "step")
MOST_VALUES = 10**5  # of a range with steps, where a sampler tries all


def read(search: Mapping[str, Any], base: Specs) -> dict[str, BaseDistribution]:
    """The distributions of a file's `search`.

    Args:
        search: axis -> list of options; `axis.field` -> list of values, {low, high, log, step}, or nothing for the
            range that the option suggests.
        base: the base recipe; its options, or those that are searched, have the fields.
    Raises:
        SpecError: all errors together.
    """
    problems, distributions = Problems(), dict[str, BaseDistribution]()
    for name, value in search.items():
        with problems:
            distributions[name] = _distribution(name, value, search, base)
    problems.check()
    return distributions


def _distribution(name: str, value: Any, search: Mapping[str, Any], base: Specs) -> BaseDistribution:
    axis, _, field = name.partition(".")
    path = f"search.{name}"
    if axis not in AXES:
        raise SpecError(f"{path}: no axis {axis!r}; {nearest(axis, AXES)}")
    if not field:
        return _options(axis, value, path)
    chosen = search[axis] if isinstance(search.get(axis), list) else [base[axis]["name"]]
    having = [n for n in map(str, chosen) if n in AXES[axis].options and field in AXES[axis].fields(n)]
    if not having:
        raise SpecError(AXES[axis].unknown(str(chosen[0]), field, f"search.{axis}"))
    if isinstance(value, list):
        return _categorical(value, path)
    return _range(value, AXES[axis].schema(having[0], field), path)


def _options(axis: str, value: Any, path: str) -> BaseDistribution:
    names = list(AXES[axis].options) if value is None else value
    if not isinstance(names, list):
        raise SpecError(f"{path}: needs a list of options, not {value!r}")
    problems = Problems()
    for name in names:
        with problems:
            AXES[axis].option(name, path)
    problems.check()
    return _categorical(names, path)


def _categorical(values: list[Any], path: str) -> BaseDistribution:
    plain = all(v is None or isinstance(v, bool | int | float | str) for v in values)
    if not values or not plain or len(set(values)) < len(values):  # 1, 1.0 and true are one choice to Optuna
        raise SpecError(f"{path}: needs a list of distinct plain values, not {values!r}")
    return CategoricalDistribution(values)


def _range(value: Any, schema: Mapping[str, Any], path: str) -> BaseDistribution:
    if value is None and "search" not in schema:
        raise SpecError(f"{path}: the option suggests no range; write {{low: ..., high: ...}}")
    spec = schema["search"] if value is None else value
    if not isinstance(spec, Mapping):
        raise SpecError(f"{path}: needs a list, {{low, high, log, step}} or an empty value, not {value!r}")
    if unknown := [k for k in spec if k not in KEYS]:
        raise SpecError(f"{path}.{unknown[0]}: unknown key; {nearest(unknown[0], KEYS)}")
    whole = schema.get("type") == "integer"
    wrong = [k for k in ("low", "high") if not _number(spec.get(k), whole)]
    wrong += [k for k in ("step",) if k in spec and not _number(spec[k], whole)]
    if wrong:
        kind = "whole number" if whole else "number"
        raise SpecError(f"{path}.{wrong[0]}: needs a {kind}, not {spec.get(wrong[0])!r}")
    if schema.get("type") not in ("integer", "number"):
        raise SpecError(f"{path}: needs a list of values: the field is not a number")
    try:
        kind_of = IntDistribution if whole else FloatDistribution
        with warnings.catch_warnings():  # that the steps do not end at `high`: see `shortened`
            warnings.simplefilter("ignore")
            return kind_of(**{k: v for k, v in spec.items() if k != "step" or v is not None})
    except (TypeError, ValueError) as error:
        raise SpecError(f"{path}: {str(error).splitlines()[0]}") from None


def _number(value: Any, whole: bool) -> bool:
    return isinstance(value, int if whole else int | float) and not isinstance(value, bool)


def shortened(search: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> list[str]:
    """A line for each range whose steps end below the file's `high`."""
    stepped = [
        (n, d) for n, d in space.items() if getattr(d, "step", None) and isinstance(search[n], Mapping)
    ]
    ends = [(n, d.high, search[n]["high"]) for n, d in stepped]  # type: ignore[attr-defined]
    return [f"search.{n}: its steps end at {last}, not at {high}" for n, last, high in ends if last < high]


def decimal(params: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """`params` with the steps of a range in decimals, as the file has them: 0.3, not 0.30000000000000004."""

    def value(name: str, given: Any) -> Any:
        d = space.get(name)
        if not isinstance(d, FloatDistribution) or d.step is None:
            return given
        low, step = Decimal(repr(d.low)), Decimal(repr(d.step))
        near = float(low + step * round((Decimal(repr(float(given))) - low) / step))
        return near if math.isclose(near, given, rel_tol=1e-9, abs_tol=1e-9 * d.step) else given

    return {name: value(name, given) for name, given in params.items()}


def values(distribution: BaseDistribution, path: str, sampler: str) -> Sequence[Any]:
    """All values of a distribution, for a sampler that tries them all.

    Raises:
        SpecError: there are infinitely many, or too many.
    """
    d = distribution
    if isinstance(d, CategoricalDistribution):
        return d.choices
    assert isinstance(d, FloatDistribution | IntDistribution)
    if d.step is None:
        raise SpecError(f"{path}: a {sampler} needs a list of values, or a step")
    low, step = Decimal(repr(d.low)), Decimal(repr(d.step))
    count = points.steps(d.low, d.high, d.step)
    if count > MOST_VALUES:
        raise SpecError(f"{path}: a {sampler} tries all of its {count} values, but can try {MOST_VALUES}")
    kind = int if isinstance(d, IntDistribution) else float
    return [kind(low + i * step) for i in range(count)]


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value is one of a distribution's."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


def words(distribution: BaseDistribution) -> str:
    """A distribution as a file has it."""
    d = distribution
    if isinstance(d, CategoricalDistribution):
        return f"[{', '.join(map(str, d.choices))}]"
    shown = {k: getattr(d, k) for k in KEYS}
    given = {k: str(v).lower() for k, v in shown.items() if v is not None and v is not False}
    return "{" + ", ".join(f"{k}: {v}" for k, v in given.items()) + "}"


def ends(space: Mapping[str, BaseDistribution]) -> dict[str, list[Any]]:
    """The extreme values of each distribution: both ends of a range, or all choices."""
    return {
        name: list(d.choices) if isinstance(d, CategoricalDistribution) else [d.low, d.high]  # type: ignore[attr-defined]
        for name, d in space.items()
    }
