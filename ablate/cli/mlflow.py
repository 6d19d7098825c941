"""`ui`, `sync` and `fetch`: look at MLflow, bring it up to date, bring finished cells from elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from ablate.cli import options
from ablate.cli.options import AS_JSON, PROFILE, REPORTS, RUNS, SEEDS, SET, TRACKING, Source, present, takes
from ablate.core.errors import SpecError

app = typer.Typer()


@app.command(rich_help_panel="Results", epilog="Example: ablate ui --port 5001")
def ui(
    runs_dir: RUNS = Path("runs"),
    tracking_uri: TRACKING = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open the MLflow UI on this machine's loopback address."""
    from ablate.tracking.server import serve

    sys.exit(serve(runs_dir, tracking_uri, port))


@app.command(rich_help_panel="Results", epilog="Example: ablate sync experiments/table1.yaml")
@takes(options.source)
def sync(
    chosen: Source,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
    tracking_uri: TRACKING = None,
    models: Annotated[
        bool, typer.Option("--models", help="Also log the network of every finished cell, seconds for each.")
    ] = False,
) -> None:
    """Bring MLflow up to date with the records, after a server was out of reach or a store was lost."""
    from ablate.report import place
    from ablate.report.merged import merged
    from ablate.runs.store import Store
    from ablate.tracking import backend, live

    experiment = chosen.experiment(runs_dir)
    if not runs_dir.is_dir():
        raise SpecError(f"--runs-dir {runs_dir}: there is no such directory")
    experiment = chosen.recorded(runs_dir)
    for line in backend.ignored(experiment.name):
        print(f"note: {line}", file=sys.stderr)
    store, report = Store(runs_dir), place.find(experiment, reports_dir).folder
    cells, problems = live.sync(merged(experiment, store, report), tracking_uri, report, models)
    print(f"{cells} cells are up to date in MLflow")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)


@app.command(rich_help_panel="Results", epilog="Example: ablate fetch reports/table1 experiments/table1.yaml")
def fetch(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="An MLflow tracking URI, a records.jsonl, or its folder.")
    ],
    file: Annotated[
        Optional[Path],
        typer.Argument(metavar="[FILE]", help="Only the cells of this experiment file.", callback=present),
    ] = None,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """Bring finished cells from elsewhere into the runs directory; never trains, never replaces a file."""
    from ablate.planning import tuning
    from ablate.runs.store import Store
    from ablate.tracking import sources

    experiment = options.source(file, profile, set_, seeds).experiment() if file else None
    experiment = experiment and tuning.known(experiment, Path(source))
    result = sources.fetch(source, Store(runs_dir), sources.possible(experiment) if experiment else None)
    if experiment:
        tuning.save(experiment, runs_dir)
    for problem in result.problems:
        print(f"error: {problem}", file=sys.stderr)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    plain = {"fetched": result.keys, "here": sorted(result.present), "refused": result.problems}
    refused = f", {len(result.problems)} refused" if result.problems else ""
    text = f"{len(result.keys)} cells fetched, {len(result.present)} were here already{refused}"
    print(json.dumps(plain, indent=1) if as_json else text)
    sys.exit(1 if result.problems else 0)
