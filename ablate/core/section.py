"""Mappings with known keys as pydantic models, and their errors as one line each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from ablate.core.errors import SpecError, nearest, yaml_hint


def _file_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", value):
        raise ValueError(f"{value!r}: letters, digits, '_', '-' and '.' only, at most 100")
    return value


FileName = Annotated[str, AfterValidator(_file_name)]  # of an experiment or a study: its results are named so


class Section(BaseModel):
    """A mapping with known keys. It is frozen, so it cannot change after it was hashed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def explain(error: ValidationError, path: str, model: type[BaseModel]) -> SpecError:
    """Pydantic's errors as one line each: path, value, reason, nearest right key."""
    return SpecError(*dict.fromkeys(_line(details, path, model) for details in error.errors()))


def _line(details: Any, path: str, model: type[BaseModel]) -> str:
    steps, section = _walked(details["loc"], model)
    where = ".".join([path, *steps])
    if details["type"] == "extra_forbidden":
        return f"{where}: unknown key; {nearest(details['loc'][-1], section.model_fields)}"
    if details["type"] == "missing":
        return f"{where}: needs a value"
    if details["type"] == "value_error":
        return f"{where}: {details['msg'].removeprefix('Value error, ')}"
    value = details["input"]
    return f"{where}: {str(value)[:60]!r}: {details['msg'].lower()}{yaml_hint(value)}"


def _walked(loc: Sequence[int | str], model: Any) -> tuple[list[str], Any]:
    """The keys that lead to a value, without the union tags that pydantic adds, and the section that holds the last."""
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
