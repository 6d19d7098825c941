"""`list`, `show` and `diff` as coloured tables for a terminal; rich is imported when a table is printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from ablate.cli.listings import shown

if TYPE_CHECKING:
    from rich.table import Table


def wanted(stream: TextIO | None = None) -> bool:
    """Whether output goes to a terminal with colours; pipes, files and NO_COLOR get plain text (no-color.org)."""
    dull = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return (stream or sys.stdout).isatty() and not dull


def put(tables: Iterable[Table]) -> None:
    """Print tables, as wide as the terminal."""
    from rich.console import Console

    console = Console()
    for table in tables:
        console.print(table)


def axes(plain: Mapping[str, Any]) -> Iterable[Table]:
    """A table per axis: its contract, and a line per option; the whole docstring if you ask for one axis."""
    for name, axis in plain.items():
        table = _table(f"{name}: {axis['contract']}", "option", "fields", "meaning")
        for option, entry in axis["options"].items():
            fields = "\n".join(f"{field} = {shown(value)}" for field, value in entry["fields"].items())
            doc = entry["doc"] if len(plain) == 1 else entry["doc"].split("\n")[0]
            table.add_row(_text(option, "bold cyan"), _text(fields, "green"), _text(doc))
        yield table


def described(found: Mapping[str, Any]) -> Iterable[Table]:
    """A recipe: each axis's option in bold, its fields below; then what else is known of it."""
    recipe = _table("recipe", "field", "value")
    for field, value in found["recipe"].items():
        style = "bold cyan" if "." not in field else ""
        recipe.add_row(_text(field, style), _text(shown(value), style or "green"))
    yield recipe
    rest = {k: v for k, v in found.items() if k != "recipe"}
    if rest:
        table = _table("of it", "what", "value")
        for what, value in rest.items():
            table.add_row(_text(what), _text(f"{value:,}" if type(value) is int else shown(value), "green"))
        yield table


def differing(a: str, b: str, found: Mapping[str, tuple[Any, Any]]) -> Iterable[Table]:
    """The fields in which two recipes differ, side by side."""
    table = _table(f"{len(found)} fields differ", "field", a, b)
    for field, (old, new) in found.items():
        table.add_row(_text(field, "bold cyan"), _text(shown(old), "yellow"), _text(shown(new), "green"))
    yield table


def _table(title: str, *columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=_text(title, "bold"), title_justify="left", box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(_text(column), overflow="fold")
    return table


def _text(content: str, style: str = "") -> Any:
    """Text that is no markup, whatever brackets it has."""
    from rich.text import Text

    return Text(content, style=style)
