"""Values beside the text that stands for them: the type of a field, not YAML, decides whether a word is a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

Checked = TypeVar("Checked")
TEXT = ("string_type", "literal_error")  # pydantic's errors where text is needed
LONGEST = 60  # letters of a value in a message


class Typed(str):
    """A value of the command line as text; `value` is what YAML makes of it."""

    value: Any


class Whole(int):
    """A whole number of a YAML text; `text` is how it stands there, such as 007."""

    text: str


class Real(float):
    """A number of a YAML text; `text` is how it stands there, such as 1e-4."""

    text: str


def plain(data: Any) -> Any:
    """`data` with what YAML makes of each typed value."""
    if isinstance(data, Typed):
        return plain(data.value)
    if isinstance(data, Mapping):
        return {key: plain(value) for key, value in data.items()}
    return [plain(value) for value in data] if isinstance(data, list) else data


def text_of(value: Any) -> str | None:
    """The text that was typed; None if it is not known."""
    return str(value) if isinstance(value, Typed) else getattr(value, "text", None)


def shown(value: Any) -> str:
    """A value in a message: as typed, and text in quotes."""
    typed = text_of(value)
    text = repr(value) if typed is None or isinstance(plain(value), str) else typed
    return text if len(text) < LONGEST else text[: LONGEST - 3] + "..."


def reason(details: Any) -> str:
    """What one of pydantic's errors says."""
    if details["type"] in ("dict_type", "model_type"):
        return "input should be keys with values"
    return "needs true or false" if details["type"] == "bool_type" else str(details["msg"]).lower()


def at(data: Any, place: Sequence[int | str]) -> tuple[list[int | str], Any]:
    """The keys that lead to what pydantic's `place` means, which also names types, and what is there."""
    keys = list[int | str]()
    for step in place:
        held = data.value if isinstance(data, Typed) else data
        known = (
            held.keys() if isinstance(held, Mapping) else range(len(held)) if isinstance(held, list) else ()
        )
        if step in known:
            data = held[step]
            keys.append(step)
    return keys, data


def checked(validate: Callable[[Any], Checked], data: Any) -> Checked:
    """`validate` of the plain `data`; where that needs text, it gets the text as typed.

    Raises:
        ValidationError: of pydantic.
    """
    given = {"": plain(data)}  # in a mapping, so that the whole can be replaced too
    try:
        return validate(given[""])
    except ValidationError as error:
        found = [at(data, e["loc"]) for e in error.errors() if e["type"] in TEXT]
        words = [(keys, text) for keys, value in found if (text := text_of(value)) is not None]
        if not words:
            raise
    for keys, text in words:
        holder: Any = given
        *parents, last = ["", *keys]
        for key in parents:
            holder = holder[key]
        holder[last] = text
    return validate(given[""])
