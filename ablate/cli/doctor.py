"""`doctor`: check recipes before compute is spent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.options import AS_JSON, RUNS, Source, source, takes

app = typer.Typer()


@app.command(rich_help_panel="Compute", epilog="Example: ablate doctor experiments/table1.yaml")
@takes(source, unless="machine")
def doctor(
    chosen: Source | None,
    machine: Annotated[
        bool, typer.Option("--machine", help="Instead of a file: what this machine offers and lacks.")
    ] = False,
    compiled: Annotated[bool, typer.Option("--compiled", help="Compile the network for check 4.")] = False,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """Check the recipes of an experiment in seconds, or a study's base recipe and the ends of its ranges.

    The exit code is 1 if one fails, unless it replays a defect on purpose.
    """
    if chosen is None:
        from ablate.cost import machine as here

        sys.exit(here.command(runs_dir, as_json))
    from ablate.doctor import gate
    from ablate.evaluation.preflight import preflight
    from ablate.planning.file import is_study

    if is_study(chosen.file):
        from ablate.study import plan

        experiment = plan.load(chosen.file, chosen.profile, chosen.overrides, chosen.seeds).ends()
    else:
        experiment = chosen.experiment()
        if experiment.tuning:
            from ablate.study import tuning

            tuning.plans(experiment)
    for note in preflight(experiment.profile, runs_dir / "cache"):
        print(f"note: {note}", file=sys.stderr)
    sys.exit(gate.command(experiment, as_json, compiled))
