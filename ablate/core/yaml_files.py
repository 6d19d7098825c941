"""YAML 1.2 as plain data, with limits on size, nesting and aliases. Only this module imports yaml and yamlcore."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from yamlcore import CCoreLoader, CoreDumper

from ablate.core.errors import SpecError, is_one_line, nearest
from ablate.core.files import typed_path
from ablate.core.typed import LONGEST, Real, Typed, Whole, shown

LARGEST = 1_000_000  # bytes of a file
MOST = 100_000  # values of a file, aliases expanded
DEEPEST = 50  # levels of nesting

MERGE = "tag:yaml.org,2002:merge"


class _Loader(CCoreLoader):  # type: ignore[misc]
    """Loads YAML 1.2's core schema and merge keys (`<<`). A key that occurs twice in a mapping is an error."""

    def construct_mapping(self, node: Any, deep: bool = True) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise SpecError(f"line {node.start_mark.line + 1}: {node.value!r} is not a mapping")
        own, inherited, seen = dict[Any, Any](), dict[Any, Any](), set[Any]()
        for key_node, value_node in node.value:
            merges, key = key_node.tag == MERGE, self.construct_object(key_node, deep=True)
            line = f"line {key_node.start_mark.line + 1}"
            if isinstance(key, str) and not is_one_line(key):
                raise SpecError(f"{line}: {key!r}: a key is one line without control characters")
            try:
                if (merges, key) in seen:
                    raise SpecError(f"{line}: {key!r} occurs twice in one mapping")
                seen.add((merges, key))
            except TypeError:
                raise SpecError(f"{line}: {key!r} cannot be a key") from None
            value = self.construct_object(value_node, deep=True)
            if not merges:
                own[key] = value
                continue
            merged = value if isinstance(value, list) else [value]
            for mapped in reversed(merged):  # the first one has precedence
                if not isinstance(mapped, dict):
                    raise SpecError(f"{line}: << needs a mapping, or a list of mappings, not {shown(mapped)}")
                inherited |= mapped
        return {**inherited, **own}

    def text(self, node: Any) -> str:
        if "\0" in (text := str(self.construct_scalar(node))):  # no path, name or label can have it
            raise SpecError(f"line {node.start_mark.line + 1}: the character \\0 cannot be part of a text")
        return text


def _scalar(kind: str) -> Any:
    """A constructor of the core schema; its numbers keep their text."""

    def construct(loader: Any, node: Any) -> Any:
        try:
            value = getattr(loader, f"construct_yaml_{kind}_core")(node)
        except (ValueError, LookupError):  # `!!int x`, or a number of 5,000 digits
            line = node.start_mark.line + 1
            raise SpecError(
                f"line {line}: {node.value[:LONGEST]!r} is not valid YAML of type {kind}"
            ) from None
        if value is None or isinstance(value, bool):
            return value
        number = Whole(value) if isinstance(value, int) else Real(value)
        number.text = node.value
        return number

    return construct


class _Dumper(CoreDumper):  # type: ignore[misc]
    """Writes what `_Loader` reads, a typed value as it was typed."""


for _tag, _constructor in {
    "map": _Loader.construct_mapping,
    "seq": lambda loader, node: loader.construct_sequence(node, deep=True),
    "str": _Loader.text,
    "merge": _Loader.text,
    **{kind: _scalar(kind) for kind in ("int", "float", "bool", "null")},
}.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _constructor)
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(MERGE, re.compile("^<<$"), ["<"])
for _number, _tag in {Whole: "int", Real: "float"}.items():
    _Dumper.add_representer(
        _number, lambda dumper, n, tag=f"tag:yaml.org,2002:{_tag}": dumper.represent_scalar(tag, n.text)
    )
_Dumper.add_representer(Typed, lambda dumper, typed: dumper.represent_data(typed.value))


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
    except UnicodeError:
        raise SpecError("not valid YAML: it has characters that are not Unicode") from None


def typed(text: str) -> Typed:
    """A value of the command line, which stays text where YAML would leave a part of it out, such as a comment.

    In quotes it is text without them; else a number, true, false, null, a mapping or a list, if it is one as a whole.
    """
    line, found = text.strip(" \t\r\n").replace("\n", " "), Typed(text)
    found.value = text
    try:
        value = parse(line)
    except SpecError:
        return found
    node: Any = yaml.compose(line, Loader=_Loader)
    quoted = line[0] in "'\"" and isinstance(value, str)
    if node.end_mark.index < len(line):
        return found
    if quoted:
        found = Typed(value)
    if quoted or isinstance(node, yaml.CollectionNode) or (node.value == line and not isinstance(value, str)):
        found.value = value
    return found


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
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)  # a device may have no end, and says no size
        if len(content) > LARGEST:
            raise SpecError(f"too large; a file has at most {LARGEST} bytes")
        return parse(content.decode("utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: byte {error.start} is not UTF-8") from None
    except SpecError as error:
        raise error.under(str(path)) from None


def write(data: Any) -> str:
    """Plain data as YAML, keys in their order."""
    style: dict[str, Any] = {
        "sort_keys": False,
        "default_flow_style": None,
        "allow_unicode": True,
        "width": 110,
    }
    return str(yaml.dump(data, Dumper=_Dumper, **style))


def mapping(data: Any, path: str) -> dict[str, Any]:
    """`data` as a mapping with text keys.

    Raises:
        SpecError: it is not a mapping, or a key is not text.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"{path}: needs a mapping, not {_kind(data)}")
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
        raise SpecError(f"{path}: needs the name or the path of a {kind[:-1]}, not {name!r}")
    if name in (known := named(kind)):
        return known[name]
    given = typed_path(name, path)
    for candidate in (given, beside.parent / given if beside else given):
        if candidate.suffix in (".yaml", ".yml") and candidate.is_file():
            return candidate
    if given.suffix in (".yaml", ".yml"):
        raise SpecError(f"{path}: {name!r}: there is no such file")
    raise SpecError(f"{path}: no {kind[:-1]} {name!r}; {nearest(name, known)}")
