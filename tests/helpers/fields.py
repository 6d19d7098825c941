"""Hypothesis strategies for the whole allowed range of an option's fields, read from their types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.core.errors import SpecError
from ablate.core.registry import AXES

UNBOUNDED = 10**9  # of whole numbers without an upper bound


def check(law: Callable[[Any], None], examples: int) -> None:
    """Test `law`, a function of `st.data()`, on the same examples every time."""
    once = settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    once(given(st.data())(law))()


def options(
    axis: str, names: Iterable[str] = (), most: Mapping[str, int] | None = None, **fixed: Any
) -> st.SearchStrategy[Any]:
    """Every option of an axis that its fields allow; combinations that it refuses as a whole are left out.

    Args:
        names: of options, instead of all of the axis.
        most: upper bounds of whole numbers, for those that are sizes.
        fixed: values of fields, where an option has these.
    """
    return st.sampled_from([*(names or AXES[axis].options)]).flatmap(
        lambda n: option(axis, n, most or {}, fixed)
    )


def option(axis: str, name: str, most: Mapping[str, int], fixed: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """One option with fields from their whole range."""
    fields = {
        f: st.just(fixed[f]) if f in fixed else values(AXES[axis].schema(name, f), most.get(f, UNBOUNDED))
        for f in AXES[axis].fields(name)
    }
    return st.fixed_dictionaries(fields).map(lambda spec: built(axis, {"name": name, **spec})).filter(bool)


def built(axis: str, spec: dict[str, Any]) -> Any:
    """The option, or None if it refuses the combination of values; each value alone must be allowed."""
    try:
        return AXES[axis].build(spec)
    except SpecError as error:
        assert "input should" not in str(error), error
        return None


def values(schema: Mapping[str, Any], most: int = UNBOUNDED) -> st.SearchStrategy[Any]:
    """The values of a JSON schema."""
    if "anyOf" in schema:
        return st.one_of(*(values(part, most) for part in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    match schema["type"]:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            first, last = low if low is not None else above + 1, min(high if high is not None else most, most)
            step = schema.get("multipleOf", 1)
            return st.integers(-(-first // step), last // step).map(lambda n: n * step)
        case "number":
            ends = (low if low is not None else above), (high if high is not None else below)
            return st.floats(*ends, exclude_min=above is not None, exclude_max=below is not None, **FINITE)
        case "array":
            parts = schema.get("prefixItems") or [schema["items"]] * max(1, schema.get("minItems", 0))
            return st.tuples(*(values(part, most) for part in parts)).map(list)
    raise AssertionError(f"no strategy for {schema}")


FINITE = {"allow_nan": False, "allow_infinity": False}
