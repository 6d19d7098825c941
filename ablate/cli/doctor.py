"""`doctor`: check recipes before compute is spent."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ablate.cli.options import AS_JSON, Source, source, takes

app = typer.Typer()


@app.command(rich_help_panel="Compute")
@takes(source)
def doctor(
    chosen: Source,
    compiled: Annotated[bool, typer.Option("--compiled", help="Compile the network for check 4.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Check an experiment's recipes in seconds; exit code 1 if one fails, unless it replays a defect on purpose."""
    from ablate.doctor import gate
    from ablate.evaluation.preflight import preflight

    experiment = chosen.experiment()
    for note in preflight(experiment.profile):
        print(f"note: {note}", file=sys.stderr)
    sys.exit(gate.command(experiment, as_json, compiled))
