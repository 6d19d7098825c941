"""Commands: options, messages, exit codes."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from ablate.cli import bench, catalogue, doctor, extractor, mlflow, models, report, run, status, study
from ablate.config import recipe as recipes
from ablate.core.errors import SpecError
from ablate.runs.record import UNWRITABLE

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Ablations of consistency training: you write an experiment file, you get tables.",
)
for group in (run, report, status, study, doctor, catalogue, models, mlflow, bench, extractor):
    app.add_typer(group.app)


def main() -> NoReturn:
    """Run the command line; a user's mistake is one line each on stderr and exit code 2."""
    try:
        recipes.load_plugins()
        app()
    except SpecError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `ablate list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        print(f"error: {error.filename}: {(error.strerror or str(error)).lower()}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
