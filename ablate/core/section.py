"""Mappings with known keys as pydantic models, and their errors as one line each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from ablate.core.errors import Problems, SpecError, nearest, yaml_hint
from ablate.core.typed import LONGEST, at, checked, reason, text_of


def _file_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", value):
        raise ValueError(f"{value!r}: letters, digits, '_', '-' and '.' only, at most 100")
    if value == "Default":
        raise ValueError(f"{value!r}: MLflow's own experiment has this name; choose another")
    return value


FileName = Annotated[str, AfterValidator(_file_name)]  # of an experiment or a study: its results are named so


class Section(BaseModel):
    """A mapping with known keys. It is frozen, so it cannot change after it was hashed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Read = TypeVar("Read", bound=BaseModel)


def read(model: type[Read], data: Mapping[str, Any], path: str, as_json: bool = False) -> Read:
    """A mapping of a file or of the command line as a section.

    Args:
        as_json: a list is accepted as a tuple, text as a path; the numbers in `Any` lose the text that was typed.
    Raises:
        SpecError: all mistakes together, each with `path`.
    """

    def validate(given: Any) -> Read:
        if as_json:
            return model.model_validate_json(json.dumps(given), strict=True)
        return model.model_validate(given, strict=True)

    try:
        return checked(validate, dict(data))
    except ValidationError as error:
        raise explain(error, path, model, data) from None


def read_most(
    model: type[Read], data: Mapping[str, Any], path: str, apart: Set[str], problems: Problems
) -> Read:
    """As `read`, but without the keys of `apart` that are wrong: so mistakes in what the others mean are found, too.

    Args:
        problems: gets the mistakes.
    Raises:
        SpecError: all mistakes together, if another key is wrong or missing.
    """
    try:
        return checked(partial(model.model_validate, strict=True), dict(data))
    except ValidationError as error:
        problems.add(*explain(error, path, model, data).problems)
        wrong = {key for details in error.errors() for key in details["loc"][:1]}
    if not wrong or wrong - apart:
        problems.check()
    return read(model, {key: value for key, value in data.items() if key not in wrong}, path)


def explain(error: ValidationError, path: str, model: type[BaseModel], given: Any = None) -> SpecError:
    """Pydantic's errors as one line each: path, value as typed in `given`, reason, nearest right key."""
    lines = list[str]()
    for details in error.errors():
        line = _line(details, path, model, given)
        start, reason = line.rpartition(": ")[::2]
        if lines and lines[-1].startswith(f"{start}: ") and "input should" in line:  # another type of a union
            lines[-1] += f", or {reason.removeprefix('input should be ')}"
        elif line not in lines:
            lines.append(line)
    return SpecError(*lines)


def _line(details: Any, path: str, model: type[BaseModel], given: Any) -> str:
    steps, section = _walked(details["loc"], model)
    missing = [details["loc"][-1]] if details["type"] == "missing" else []
    if given is not None:  # pydantic also names the types of a union
        steps = [*map(str, [*at(given, details["loc"])[0], *missing])] or steps
    keys = ".".join(steps)
    where = f"{path}{': ' if path.endswith(('.yaml', '.yml')) else '.'}{keys}" if keys else path
    if details["type"] == "extra_forbidden":
        return f"{where}: unknown key; {nearest(details['loc'][-1], section.model_fields)}"
    if details["type"] == "missing":
        return f"{where}: needs a value"
    if details["type"] == "value_error":
        return f"{where}: {details['msg'].removeprefix('Value error, ')}"
    value, text = details["input"], text_of(at(given, details["loc"])[1])
    word = str(value) if text is None else text
    return f"{where}: {word[:LONGEST]!r}: {reason(details)}{yaml_hint(value)}"


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
        elif get_origin(here) is dict:
            here = get_args(here)[1]
        steps.append(str(step))
    return steps, section
