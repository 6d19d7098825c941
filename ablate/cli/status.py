"""`status`: the progress of every cell of an experiment."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.options import AS_JSON, RUNS, Source, source, takes

app = typer.Typer()
EVERY_S = 2.0  # between two updates


@app.command(rich_help_panel="Compute", epilog="Example: ablate status experiments/table1.yaml")
@takes(source)
def status(
    chosen: Source,
    runs_dir: RUNS = Path("runs"),
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Show the progress of every cell, live while any runs; never trains, never writes."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from ablate.planning import trials, tuning
    from ablate.runs import status

    planned = chosen.recorded(runs_dir)
    experiment = trials.with_trials(planned)
    for note in experiment.notes:
        print(f"note: {note}", file=sys.stderr)
    cells, console = status.cells(experiment, runs_dir), Console()

    def table() -> Table:
        return status.table(experiment.name, cells, console.width, trials.overview(planned))

    if as_json:
        plain = {"cells": cells, **status.totals(cells), **trials.listing(planned)}
        print(json.dumps(plain, indent=1))
        return
    if once or not console.is_terminal:
        console.print(table())
        return
    with Live(table(), console=console, auto_refresh=False) as live:
        while any(c["state"] == "running" for c in cells):
            time.sleep(EVERY_S)
            planned = tuning.known(planned, runs_dir)
            cells = status.cells(trials.with_trials(planned), runs_dir)
            live.update(table(), refresh=True)
