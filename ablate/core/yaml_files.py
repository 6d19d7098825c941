"""YAML files as plain data, with limits on their size, nesting and aliases. Only this module imports yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ablate.core.errors import SpecError, nearest

LARGEST = 1_000_000  # bytes of a file
MOST = 100_000  # values of a file, aliases expanded
DEEPEST = 50  # levels of nesting

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """The safe loader, which also refuses a key that occurs twice in one mapping."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            try:
                if key in seen:
                    raise SpecError(
                        f"line {key_node.start_mark.line + 1}: {key!r} occurs twice in one mapping"
                    )
                seen.add(key)
            except TypeError:
                raise SpecError(f"line {key_node.start_mark.line + 1}: {key!r} cannot be a key") from None
        mapped: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapped


def parse(text: str) -> Any:
    """The plain data of a YAML text.

    Raises:
        SpecError: invalid YAML, a repeated key, aliases that expand to more than `MOST` values, or deep nesting.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            raise SpecError("the file is empty")
        _weigh(node, {}, 0)
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise SpecError(f"{where}not valid YAML: {reason}") from None
    except RecursionError:
        raise SpecError(f"nested deeper than {DEEPEST} levels") from None
    except (ValueError, OverflowError) as error:  # text that only looks like a date or a number
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"not valid YAML: {error}") from None


def _weigh(node: Any, known: dict[int, int], depth: int) -> int:
    """Count the values that a node expands to, so that an alias bomb is refused before it is expanded."""
    if depth > DEEPEST:
        raise SpecError(f"nested deeper than {DEEPEST} levels, or an alias contains itself")
    if id(node) in known:
        return known[id(node)]
    children = node.value if isinstance(node.value, list) else []
    flat = [c for pair in children for c in (pair if isinstance(pair, tuple) else (pair,))]
    weight = 1 + sum(_weigh(child, known, depth + 1) for child in flat)
    if weight > MOST:
        raise SpecError(f"more than {MOST} values once its aliases are expanded")
    known[id(node)] = weight
    return weight


def read(path: str | Path) -> Any:
    """The plain data of a YAML file.

    Raises:
        SpecError: the file cannot be read or is not valid YAML; the message names the file.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise SpecError(f"{size} bytes; a file has at most {LARGEST}")
        return parse(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: byte {error.start} is not UTF-8") from None
    except SpecError as error:
        raise error.under(str(path)) from None


def write(data: Any) -> str:
    """Plain data as YAML, keys in their order."""
    return str(yaml.safe_dump(data, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110))


def mapping(data: Any, path: str) -> dict[str, Any]:
    """`data` as a mapping with text keys.

    Raises:
        SpecError: it is not a mapping, or a key is not text.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"{path}: a mapping is needed here, not {_kind(data)}")
    wrong = [k for k in data if not isinstance(k, str)]
    if wrong:
        raise SpecError(*(f"{path}: key {k!r} is not text" for k in wrong))
    return dict(data)


def _kind(data: Any) -> str:
    return "nothing" if data is None else f"{type(data).__name__} {str(data)[:40]!r}"


def folders(kind: str) -> list[Path]:
    """The folders that are searched for a kind of file (`recipes`, `profiles`): here, beside the package, inside it."""
    package = Path(__file__).parents[1]
    roots = (Path("experiments"), package.parent / "experiments", package / "experiments")
    return [root / kind for root in roots]


def named(kind: str) -> dict[str, Path]:
    """All shipped files of a kind by name."""
    files = {p.stem: p for folder in reversed(folders(kind)) for p in sorted(folder.glob("*.yaml"))}
    return dict(sorted(files.items()))


def locate(kind: str, name: Any, path: str, beside: Path | None = None) -> Path:
    """The file of a kind that `name` refers to: a shipped name, or a path (also relative to the file `beside`).

    Raises:
        SpecError: there is no such file.
    """
    if not isinstance(name, str):
        raise SpecError(f"{path}: {name!r} is neither a name nor a path")
    if name in (known := named(kind)):
        return known[name]
    for candidate in (Path(name), beside.parent / name if beside else Path(name)):
        if candidate.suffix in (".yaml", ".yml") and candidate.is_file():
            return candidate
    raise SpecError(f"{path}: no {kind[:-1]} {name!r}; {nearest(name, known)}")
