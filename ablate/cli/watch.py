"""Commands that look at an experiment, and bring MLflow up to date."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.options import (
    AS_JSON,
    FILE,
    PROFILE,
    REPORTS,
    RUNS,
    SEEDS,
    SET,
    TRACKING,
    overrides,
    seed_list,
)
from ablate.core.errors import SpecError

app = typer.Typer()
EVERY_S = 2.0  # between two looks


@app.command()
def status(
    file: FILE,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    runs_dir: RUNS = Path("runs"),
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Show how far every cell is, live until nothing runs any more; never trains, never writes."""
    from rich.console import Console
    from rich.live import Live

    from ablate.analysis import sequential
    from ablate.planning import planner
    from ablate.runs import status

    experiment = planner.load(file, profile, overrides(set_), seed_list(seeds))
    experiment = sequential.recorded(experiment, runs_dir)
    found, console = status.cells(experiment, runs_dir), Console()
    if as_json:
        print(json.dumps({"cells": found, **status.totals(found)}, indent=1))
        return
    if once or not console.is_terminal:
        Console(width=None if console.is_terminal else 160).print(status.table(experiment.name, found))
        return
    with Live(status.table(experiment.name, found), console=console, auto_refresh=False) as live:
        while any(c["state"] == "running" for c in found):
            time.sleep(EVERY_S)
            found = status.cells(experiment, runs_dir)
            live.update(status.table(experiment.name, found), refresh=True)


@app.command()
def sync(
    file: FILE,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
    tracking_uri: TRACKING = None,
    models: Annotated[
        bool, typer.Option("--models", help="Also log the network of every finished cell, seconds for each.")
    ] = False,
) -> None:
    """Bring MLflow up to date with what is recorded, after a server was out of reach or a store was lost."""
    from ablate.analysis import sequential
    from ablate.planning import planner
    from ablate.runs.store import Store
    from ablate.tracking.live import brought

    experiment = planner.load(file, profile, overrides(set_), seed_list(seeds))
    if not runs_dir.is_dir():
        raise SpecError(f"--runs-dir {runs_dir}: there is no such directory")
    experiment = sequential.recorded(experiment, runs_dir)
    store, report = Store(runs_dir), reports_dir / experiment.name
    cells, problems = brought(experiment, store, tracking_uri, report, models)
    print(f"{cells} cells are up to date in MLflow")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
