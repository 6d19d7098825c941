"""Mappings of known keys, as pydantic models, and one line for each mistake in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from ablate.core.errors import SpecError, nearest, yaml_hint


class Section(BaseModel):
    """A mapping of known keys; frozen, so that what was hashed is what is used."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def explain(error: ValidationError, path: str, model: type[BaseModel]) -> SpecError:
    """Pydantic's findings as one line each: path, value, reason, nearest right key."""
    return SpecError(*dict.fromkeys(_line(found, path, model) for found in error.errors()))


def _line(found: Any, path: str, model: type[BaseModel]) -> str:
    steps, section = _walked(found["loc"], model)
    where = ".".join([path, *steps])
    if found["type"] == "extra_forbidden":
        return f"{where}: unknown key; {nearest(found['loc'][-1], section.model_fields)}"
    if found["type"] == "missing":
        return f"{where}: needs a value"
    if found["type"] == "value_error":
        return f"{where}: {found['msg'].removeprefix('Value error, ')}"
    value = found["input"]
    return f"{where}: {str(value)[:60]!r}: {found['msg'].lower()}{yaml_hint(value)}"


def _walked(loc: Sequence[int | str], model: Any) -> tuple[list[str], Any]:
    """The steps of a place without pydantic's own, which name the arm of a union; the section that the last lies in."""
    steps, section, here = list[str](), model, model
    for step in loc:
        arms = [arm for part in (here, *get_args(here)) for arm in (part, *get_args(part))]
        section = next((arm for arm in arms if hasattr(arm, "model_fields")), section)
        if isinstance(step, str) and step in getattr(section, "model_fields", {}):
            here = section.model_fields[step].annotation
        elif any(getattr(arm, "tag", None) == step for arm in arms):
            here = next(a for a in arms if any(getattr(m, "tag", None) == step for m in get_args(a)))
            continue
        steps.append(str(step))
    return steps, section
