"""How fast an experiment's networks train on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from ablate.cli.options import AS_JSON, RUNS, Source, source, takes

app = typer.Typer()
THREADS = Annotated[Optional[int], typer.Option(min=1, help="Of the CPU; the profile's, else one per core.")]


@app.command(rich_help_panel="Compute", epilog="Example: ablate bench experiments/table1.yaml")
@takes(source)
def bench(
    chosen: Source,
    threads: THREADS = None,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """Time the training step of every distinct network and precision, beside a matrix product."""
    from ablate.core.hardware import cores, devices
    from ablate.cost import bench, estimate

    experiment = chosen.experiment()
    device = "cpu" if devices() == ["cpu"] else "cuda"
    using = threads or experiment.profile.threads or cores()
    entries = []
    for entry in bench.speeds(estimate.groups(experiment, runs_dir), using, device):
        entries.append(entry)
        if not as_json:
            print(bench.format_entry(entry), flush=True)
    if as_json:
        print(json.dumps(entries, indent=1))
