"""Options and arguments that several commands take, and what their text means."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from ablate.core import yaml_files
from ablate.core.errors import Problems, SpecError
from ablate.core.registry import AXES


def begun(names: Iterable[str], incomplete: str) -> list[str]:
    """The names that a shell may put in the place of what was typed."""
    return [name for name in names if name.startswith(incomplete)]


def _profiles(incomplete: str) -> list[str]:
    return begun(yaml_files.named("profiles"), incomplete)


def _settings(incomplete: str) -> list[str]:
    """An axis, a field of one of its options behind a dot, or an option behind `=`."""
    key, equals, _ = incomplete.partition("=")
    axis, dot, _ = key.partition(".")
    if axis not in AXES:
        return begun(AXES, incomplete)
    options = AXES[axis].options
    if equals and not dot:
        return begun((f"{axis}={option}" for option in options), incomplete)
    fields = dict.fromkeys(field for option in options for field in AXES[axis].fields(option))
    return begun((axis, *(f"{axis}.{field}" for field in fields)), incomplete)


FILE = Annotated[Path, typer.Argument(metavar="FILE", help="An experiment file (YAML).")]
KEY = Annotated[str, typer.Argument(metavar="KEY", help="The key of a finished cell, or its beginning.")]
PROFILE = Annotated[
    Optional[str],
    typer.Option(help="Another profile than the file's: a name or a path.", autocompletion=_profiles),
]
SET = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a field in every row; repeatable.",
        autocompletion=_settings,
    ),
]
SEEDS = Annotated[Optional[str], typer.Option(metavar="0,1,...", help="Other seeds than the file's.")]
SEED = Annotated[int, typer.Option(min=0, help="Of the noise.")]
WORKERS = Annotated[
    Optional[int], typer.Option(min=1, help="Cells at a time; one per GPU or core by default.")
]
PER_DEVICE = Annotated[int, typer.Option("--workers-per-device", min=1, help="Cells that share a GPU.")]
PER_CELL = Annotated[
    int, typer.Option("--devices-per-cell", min=1, help="Data parallel inside a cell; of local only.")
]
EXECUTOR = Annotated[str, typer.Option(help="local, ray or slurm.")]
EXECUTOR_OPTION = Annotated[
    Optional[list[str]],
    typer.Option("--executor-option", metavar="KEY=VALUE", help="Of ray or slurm: gpus=0.5; repeatable."),
]
RETRIES = Annotated[int, typer.Option(min=0, help="Of a cell whose worker died; other failures repeat.")]
STALL = Annotated[
    Optional[float],
    typer.Option("--stall-minutes", min=0.01, help="Kill a worker that takes so long over a step."),
]
RUNS = Annotated[Path, typer.Option(help="Where cells are kept.")]
REPORTS = Annotated[Path, typer.Option(help="Where tables and figures go.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
TRACKING = Annotated[
    Optional[str], typer.Option(help="An MLflow tracking URI; by default sqlite beside the runs.")
]


def overrides(pairs: list[str] | None, option: str = "--set") -> dict[str, Any]:
    """`--set` pairs as dotted keys and plain values; here `1e-4` is a number, for there is no doubt what is meant."""
    found, problems = dict[str, Any](), Problems()
    for pair in pairs or []:
        key, equals, text = pair.partition("=")
        with problems:
            if not equals or not key.strip():
                raise SpecError(f"{option} {pair}: KEY=VALUE is needed")
            try:
                value = yaml_files.parse(text) if text.strip() else text
            except SpecError as error:
                raise error.under(f"{option} {key}") from None
            found[key.strip()] = number(value) if isinstance(value, str) else value
    problems.check()
    return found


def number(text: str) -> Any:
    """A float where the text is one, else the text."""
    try:
        return float(text)
    except ValueError:
        return text


def seed_list(text: str | None) -> list[int] | None:
    """`0,1,2` as numbers."""
    try:
        return [int(part) for part in text.split(",")] if text is not None else None
    except ValueError:
        raise SpecError(f"--seeds {text}: numbers with commas between are needed, as in 0,1,2") from None


def levels(text: str | None) -> list[float]:
    """`20,2,0.5` as descending noise levels."""
    try:
        found = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        found = [-1.0]
    if any(b >= a for a, b in itertools.pairwise(found)) or any(not 0 < s < 1e6 for s in found):
        raise SpecError(f"--sigmas {text}: positive levels in descending order are needed, as in 20,2,0.5")
    return found
