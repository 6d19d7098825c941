"""`list`, `show`, `diff` and `schema`: look up axes, options and recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from ablate.cli.options import AS_JSON, PROFILE, RUNS, SET, begun, overrides
from ablate.config import recipe as recipes
from ablate.core import yaml_files
from ablate.core.errors import SpecError, nearest
from ablate.core.registry import AXES

app = typer.Typer()


def _axes(incomplete: str) -> list[str]:
    return begun(AXES, incomplete)


def _recipes(incomplete: str) -> list[str]:
    return begun(yaml_files.named("recipes"), incomplete)


AXIS = Annotated[Optional[str], typer.Argument(help="One axis only.", autocompletion=_axes)]
RECIPE = "A name, a file, or the key of a cell."


@app.command("list", rich_help_panel="Look up", epilog="Example: ablate list metric")
def list_(axis: AXIS = None, as_json: AS_JSON = False) -> None:
    """List the axes with their contracts, options, fields and sources."""
    from ablate.cli import coloured, listings

    if axis is not None and axis not in AXES:
        raise SpecError(f"{axis!r} is not an axis; {nearest(axis, AXES)}")
    chosen = [axis] if axis else list(AXES)
    if as_json:
        print(json.dumps(listings.plain(chosen), indent=1))
    elif coloured.wanted():
        coloured.put(coloured.axes(listings.plain(chosen)))
    else:
        print(listings.text(chosen))


@app.command(rich_help_panel="Look up", epilog="Example: ablate show ict --profile digits")
def show(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=RECIPE, autocompletion=_recipes)],
    profile: PROFILE = None,
    set_: SET = None,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """Show a recipe with every field; with a profile, as it is trained there and with the size of its network."""
    from ablate.cli import coloured, listings

    shown = listings.described(recipe, profile, overrides(set_), runs_dir)
    if as_json:
        print(json.dumps(shown, indent=1))
    elif coloured.wanted():
        coloured.put(coloured.described(shown))
    else:
        print(yaml_files.write(shown), end="")


@app.command("diff", rich_help_panel="Look up", epilog="Example: ablate diff ct ict")
def diff_(
    a: Annotated[str, typer.Argument(metavar="A", help=RECIPE, autocompletion=_recipes)],
    b: Annotated[str, typer.Argument(metavar="B", autocompletion=_recipes)],
    profile: PROFILE = None,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """Show the fields in which two recipes differ."""
    from ablate.cli import coloured, listings

    left, right = (listings.recipe_of(name, profile, {}, runs_dir)[0] for name in (a, b))
    found = recipes.diff(left, right)
    changes = {k: found[k] for axis in AXES for k in found if k.split(".")[0] == axis}
    if as_json:
        print(json.dumps(changes, indent=1))
    elif changes and coloured.wanted():
        coloured.put(coloured.differing(a, b, changes))
    else:
        print(listings.changes(a, b, changes))


@app.command(rich_help_panel="Look up", epilog="Example: ablate schema > schema.json")
def schema() -> None:
    """Print the JSON Schema of experiment files, for editors."""
    from ablate.planning.schema import schema

    print(json.dumps(schema(), indent=1))
