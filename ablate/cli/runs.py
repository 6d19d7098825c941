"""`runs list`, `runs prune` and `runs remove`: what the runs directory holds, and how to free space."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ablate.cli.options import AS_JSON, PROFILE, REPORTS, RUNS, SEEDS, SET, present, source
from ablate.core.formats import age, count, size

if TYPE_CHECKING:
    from ablate.runs.space import Held

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="Show what the runs directory holds, and free space.")
app.add_typer(group, name="runs", rich_help_panel="Results")
YES = Annotated[bool, typer.Option("--yes", help="Remove it; without this, only show what would go.")]


@group.command("list", epilog="Example: ablate runs list")
def list_(
    runs_dir: RUNS = Path("runs"), reports_dir: REPORTS = Path("reports"), as_json: AS_JSON = False
) -> None:
    """List all cells with their experiment, row, state, size and age; never writes."""
    from ablate.runs import space
    from ablate.runs.store import Store

    found = space.cells(Store(runs_dir), reports_dir)
    _show(found, as_json, "cells", sum(held.bytes for held in found))


@group.command(epilog="Example: ablate runs prune experiments/table1.yaml")
def prune(
    files: Annotated[
        Optional[list[Path]],
        typer.Argument(
            metavar="[FILE]...",
            help="Experiment files: cells that none of them names go too, finished or not.",
            callback=present,
        ),
    ] = None,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    yes: YES = False,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
    as_json: AS_JSON = False,
) -> None:
    """Remove unfinished cells and what the cache can compute again; a cell that is being computed is left alone."""
    from ablate.planning import trials
    from ablate.runs import space
    from ablate.runs.store import Store

    planned = [source(file, profile, set_, seeds).recorded(runs_dir) for file in files or []]
    experiments = [trials.with_trials(experiment) for experiment in planned]
    store = Store(runs_dir)
    _remove(space.prunable(store, space.cells(store, reports_dir), experiments), store.path, yes, as_json)


@group.command(epilog="Example: ablate runs remove 33dd 3d0e --yes")
def remove(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Keys of cells, or their beginnings.")],
    yes: YES = False,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
    as_json: AS_JSON = False,
) -> None:
    """Remove cells, their weights and results included; in a terminal it asks first."""
    from ablate.runs import space
    from ablate.runs.store import Store

    store = Store(runs_dir)
    chosen = space.named(store, space.cells(store, reports_dir), keys)
    if not yes and not as_json and sys.stdin.isatty():
        _show(chosen, False, "would go", sum(held.bytes for held in chosen))
        yes = typer.confirm("Remove them?")
    _remove(chosen, store.path, yes, as_json)


def _remove(chosen: list[Held], runs: Path, yes: bool, as_json: bool) -> None:
    """Remove what was chosen, or only show it."""
    from ablate.runs import space
    from ablate.runs.store import Store

    removed = list(space.remove(Store.writable(runs), chosen)) if yes and chosen else []
    freed = sum(held.bytes for held in (removed if yes else chosen))
    if as_json:
        _show(chosen, True, "removed" if yes else "removable", freed, len(removed))
        return
    _show(removed if yes else chosen, False, "removed" if yes else "would go", freed)
    if not yes and chosen:
        print("nothing was removed; --yes removes it")
    elif left := len(chosen) - len(removed):
        print(f"{left} left alone: being computed, or gone already")


def _show(found: list[Held], as_json: bool, what: str, total: int, removed: int = 0) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if as_json:
        plain = {"entries": [held.plain() for held in found], "bytes": total, "removed": removed}
        print(json.dumps(plain, indent=1))
        return
    made = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for column in ("experiment", "row"):
        made.add_column(column, overflow="fold")
    for column in ("seed", "key", "state", "size", "age"):
        words = column in ("key", "state")
        made.add_column(column, justify="left" if words else "right", no_wrap=True, overflow="ellipsis")
    for held in (held for held in found if held.key):
        seed = "" if held.seed is None else str(held.seed)
        texts = Text(held.experiment), Text(held.row)
        made.add_row(*texts, seed, held.key, held.state, size(held.bytes), age(held.age))
    if made.row_count:
        Console().print(made)
    for held in (held for held in found if not held.key):
        print(f"{held.path}  {size(held.bytes)}  {held.why}")
    cells = sum(bool(held.key) for held in found)
    parts = [count(cells, "cell"), *([f"{len(found) - cells} of the cache"] if len(found) > cells else [])]
    print(f"{', '.join(parts)}{'' if what == 'cells' else ' ' + what}: {size(total)}")
