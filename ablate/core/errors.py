"""Errors in what the user wrote: one line each, reported together, with the nearest right word."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable


class SpecError(ValueError):
    """Mistakes of the user. `problems` has a line for each: path, value, reason and nearest right word."""

    def __init__(self, *problems: str):
        self.problems = list(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))

    def under(self, path: str) -> SpecError:
        """The same problems, each prefixed with `path`."""
        return SpecError(*(f"{path}: {p}" for p in self.problems))


class Problems:
    """Collects the problems of several steps, so that all errors of a file are reported together."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, *problems: str) -> None:
        self.found += [p for p in problems if p not in self.found]

    def __enter__(self) -> Problems:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, SpecError):
            self.add(*error.problems)
            return True
        return False

    def check(self) -> None:
        """Raise one SpecError with everything collected, if there is anything."""
        if self.found:
            raise SpecError(*self.found)


def missing_extra(option: str, extra: str) -> SpecError:
    """The error of an option whose package is not installed; it says how to install it."""
    return SpecError(f"{option} needs the extra {extra!r}: in your clone, run pip install -e '.[{extra}]'")


def is_one_line(text: str) -> bool:
    """Whether a name can stand in a line: no line ends, control characters or bytes that are not text."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text)


def nearest(word: object, words: Iterable[str]) -> str:
    """The end of an error message: the word closest to `word`, or all `words` if none is close."""
    words, typed = sorted(words), str(word)
    close = difflib.get_close_matches(typed, words, n=3, cutoff=0.5)
    close.sort(key=lambda w: sorted(w) != sorted(typed))  # first one whose letters are in another order
    return f"did you mean {close[0]!r}?" if close else "there are: " + ", ".join(words)


def yaml_hint(value: object) -> str:
    """The end of an error message where YAML may have read a value differently than you meant; empty elsewhere."""
    if value is None:
        return " (YAML reads an empty value, ~ and null as nothing)"
    if isinstance(value, bool):
        return " (YAML reads true and false as a truth value: quote the word if it is text)"
    if isinstance(value, str) and re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", value):
        return " (a number in quotes is text: leave the quotes out)"
    return ""
