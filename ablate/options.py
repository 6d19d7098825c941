"""Options and arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

FILE = Annotated[Path, typer.Argument(metavar="FILE", help="An experiment file (YAML).")]
KEY = Annotated[str, typer.Argument(metavar="KEY", help="The key of a finished cell, or its beginning.")]
PROFILE = Annotated[Optional[str], typer.Option(help="Another profile than the file's: a name or a path.")]
SET = Annotated[
    Optional[list[str]],
    typer.Option("--set", metavar="KEY=VALUE", help="Change a field in every row; repeatable."),
]
SEEDS = Annotated[Optional[str], typer.Option(metavar="0,1,...", help="Other seeds than the file's.")]
SEED = Annotated[int, typer.Option(min=0, help="Of the noise.")]
RUNS = Annotated[Path, typer.Option(help="Where cells are kept.")]
REPORTS = Annotated[Path, typer.Option(help="Where tables and figures go.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
TRACKING = Annotated[
    Optional[str], typer.Option(help="An MLflow tracking URI; by default sqlite beside the runs.")
]
