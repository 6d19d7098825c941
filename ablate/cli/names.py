"""Commands on what has a name: axes, options, recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from ablate import documents
from ablate import recipe as recipes
from ablate.cli.options import AS_JSON, PROFILE, RUNS, SET, overrides
from ablate.registry import AXES, SpecError, nearest

app = typer.Typer()


@app.command("list")
def list_(
    axis: Annotated[Optional[str], typer.Argument(help="One axis only.")] = None, as_json: AS_JSON = False
) -> None:
    """The axes, their contracts, options, fields and sources."""
    from ablate import catalogue

    if axis is not None and axis not in AXES:
        raise SpecError(f"{axis!r} is no axis; {nearest(axis, AXES)}")
    chosen = [axis] if axis else list(AXES)
    print(json.dumps(catalogue.plain(chosen), indent=1) if as_json else catalogue.text(chosen))


@app.command()
def show(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A name, a file, or the key of a cell.")],
    profile: PROFILE = None,
    set_: SET = None,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """A recipe with every field written out; with a profile, as it would be tried there, its network counted."""
    from ablate import catalogue

    shown = catalogue.described(recipe, profile, overrides(set_), runs_dir)
    print(json.dumps(shown, indent=1) if as_json else documents.write(shown), end="" if not as_json else "\n")


@app.command("diff")
def diff_(
    a: Annotated[str, typer.Argument(metavar="A", help="A recipe, a file, or the key of a cell.")],
    b: Annotated[str, typer.Argument(metavar="B")],
    profile: PROFILE = None,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """The fields in which two recipes differ."""
    from ablate import catalogue

    changes = recipes.diff(*(catalogue.recipe_of(name, profile, {}, runs_dir)[0] for name in (a, b)))
    print(json.dumps(changes, indent=1) if as_json else catalogue.changes(a, b, changes))


@app.command()
def schema() -> None:
    """Print the JSON Schema of experiment files, for editors."""
    from ablate.schema import schema

    print(json.dumps(schema(), indent=1))
