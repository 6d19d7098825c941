"""Commands that bring results from elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ablate.cli.options import AS_JSON, PROFILE, RUNS, SEEDS, SET, overrides, seed_list

if TYPE_CHECKING:
    from ablate.tracking import sources

app = typer.Typer()


@app.command()
def fetch(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="An MLflow tracking URI, a records.jsonl, or its folder.")
    ],
    file: Annotated[
        Optional[Path], typer.Argument(metavar="[FILE]", help="Only the cells of this experiment file.")
    ] = None,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """Bring finished cells from elsewhere into the runs directory; never trains, never replaces a file."""
    from ablate.planning import planner
    from ablate.runs.store import Store
    from ablate.tracking import sources

    experiment = planner.load(file, profile, overrides(set_), seed_list(seeds)) if file else None
    found = sources.bring(source, Store(runs_dir), sources.possible(experiment) if experiment else None)
    for problem in found.problems:
        print(f"error: {problem}", file=sys.stderr)
    told = {"fetched": found.keys, "here": sorted(found.here), "refused": found.problems}
    print(json.dumps(told, indent=1) if as_json else _told(found))
    sys.exit(1 if found.problems else 0)


def _told(found: sources.Brought) -> str:
    refused = f", {len(found.problems)} refused" if found.problems else ""
    return f"{len(found.keys)} cells fetched, {len(found.here)} were here already{refused}"
