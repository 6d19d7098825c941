"""Options and arguments that several commands take, and what their text means."""

from __future__ import annotations

import difflib
import inspect
import itertools
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, get_type_hints

import typer

from ablate.core import yaml_files
from ablate.core.errors import Problems, SpecError, is_one_line
from ablate.core.files import typed_path
from ablate.core.registry import AXES

if TYPE_CHECKING:
    from ablate.planning.experiment import Experiment


# what MLflow keeps runs in, without plugins and its folders of files, which it refuses by default
STORES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks", "databricks-uc", "uc")


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


def expanded(parameter: typer.CallbackParam, value: Any) -> Any:
    """The path of an option, or its paths, without the `~` that shells leave in `--runs-dir=~/runs`."""
    if isinstance(value, (list, tuple)):
        return [expanded(parameter, one) for one in value]
    return value and typed_path(value, parameter.opts[0])


def present(context: typer.Context, parameter: typer.CallbackParam, value: Any) -> Any:
    """The file of an argument, or its files.

    Raises:
        SpecError: there is no such file; the message has the experiment file with the nearest name, if one is near.
    """
    if isinstance(value, (list, tuple)):
        return [present(context, parameter, one) for one in value]
    path = value and typed_path(value, "FILE")
    if not path or context.resilient_parsing or os.path.lexists(path):
        return path
    beside = [file for folder in (path.parent, Path()) for file in sorted(folder.glob("[!.]*.y*ml"))]
    known = {file.stem: file for file in (*yaml_files.named("").values(), *beside)}
    close = difflib.get_close_matches(path.stem, known, n=1, cutoff=0.5)
    hint = f"; did you mean {known[close[0]]}?" if close else " or directory"
    one_line = is_one_line(os.fsencode(path).decode(errors="replace"))
    raise SpecError(f"{path if one_line else repr(str(path))}: no such file{hint}")


def store_of_mlflow(context: typer.Context, parameter: typer.CallbackParam, uri: str | None) -> str | None:
    """A tracking URI, or None.

    Raises:
        SpecError: MLflow has no kind of store for it.
    """
    kind = re.split(r"[:+]", uri)[0] if uri else STORES[0]
    allowed = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("1", "true")  # MLflow's own variable
    plugins = (entry.name for entry in entry_points(group="mlflow.tracking_store"))
    if kind in STORES or (allowed and (kind == "file" or "://" not in str(uri))) or kind in plugins:
        return uri
    examples = "sqlite:///mlflow.db, http://localhost:5000"
    shown = uri if is_one_line(str(uri)) else repr(uri)
    raise SpecError(
        f"--tracking-uri {shown}: needs the address of a database or a server, such as {examples}"
    )


FILE = Annotated[Path, typer.Argument(metavar="FILE", help="An experiment file (YAML).", callback=present)]
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
EXTRACTOR = Annotated[
    Optional[str], typer.Option(metavar="NAME|FILE", help="As --set profile.evaluation.extractor=NAME.")
]
SEEDS = Annotated[Optional[str], typer.Option(metavar="0,1,...", help="Other seeds than the file's.")]
TUNE = Annotated[
    Optional[list[str]],
    typer.Option(
        "--tune",
        metavar="FIELD=LOW..HIGH[:log]|A,B",
        help="Find each row's own value of a field, then run it with that; repeatable.",
        autocompletion=_settings,
    ),
]
TRIALS = Annotated[
    Optional[int], typer.Option("--trials", min=1, help="Of each row's tuning, or of a study in all.")
]
TUNING_SEEDS = Annotated[
    Optional[str], typer.Option("--tuning-seeds", metavar="100,...", help="Seeds of the tuning's trials.")
]
BUDGETS = Annotated[
    Optional[str],
    typer.Option(metavar="0.5,1,2,...", help="Train every row with so many times the profile's images."),
]
SEED = Annotated[int, typer.Option(min=0, help="Of the noise.")]
WORKERS = Annotated[
    Optional[int], typer.Option(min=1, help="Cells at a time; one per GPU or core by default.")
]
PER_DEVICE = Annotated[int, typer.Option("--workers-per-device", min=1, help="Cells that share a GPU.")]
PER_CELL = Annotated[
    int, typer.Option("--devices-per-cell", min=1, help="Data parallel inside a cell; of local only.")
]
EXECUTOR = Annotated[str, typer.Option(help="local, ray, slurm, or one that a plugin adds.")]
EXECUTOR_OPTION = Annotated[
    Optional[list[str]],
    typer.Option(
        "--executor-option", metavar="KEY=VALUE", help="Of the executor: gpus=0.5 of ray; repeatable."
    ),
]
RETRIES = Annotated[
    int, typer.Option(min=0, help="Of a cell whose worker died; other failures would repeat.")
]
STALL = Annotated[
    Optional[float],
    typer.Option("--stall-minutes", min=0.01, help="Kill a worker that takes so long over a step."),
]
RUNS = Annotated[Path, typer.Option(help="Where cells are kept.", callback=expanded)]
REPORTS = Annotated[Path, typer.Option(help="Where tables and figures go.", callback=expanded)]
CLAIMS_ONLY = Annotated[
    bool, typer.Option("--claims-only", help="Leave out the rows that no claim of the file compares.")
]
AS_JSON = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
TRACKING = Annotated[
    Optional[str],
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        callback=store_of_mlflow,
        help="Of MLflow. By default the variable, else a database beside the runs.",
    ),
]


def overrides(pairs: list[str] | None, option: str = "--set") -> dict[str, Any]:
    """`--set` pairs as dotted keys and typed values."""
    found, problems = dict[str, Any](), Problems()
    for pair in pairs or []:
        key, equals, text = pair.partition("=")
        with problems:
            if not equals or not key.strip() or not is_one_line(key):
                raise SpecError(f"{option} {pair if is_one_line(pair) else repr(pair)}: needs KEY=VALUE")
            found[key.strip()] = yaml_files.typed(text)
    problems.check()
    return found


def tuned(
    ranges: list[str] | None, trials: int | None = None, seeds: str | None = None, study: bool = False
) -> dict[str, Any]:
    """`--tune`, `--trials` and `--tuning-seeds` as `--set` would have them, for an experiment or a study."""
    found, problems = dict[str, Any](), Problems()
    for text in ranges or []:
        field, _, searched = text.partition("=")
        name = f"tune.search.{field.strip()}"
        low, _, high = searched.removesuffix(":log").partition("..")
        ends = {"low": yaml_files.typed(low), "high": yaml_files.typed(high)}
        values = [yaml_files.typed(value) for value in searched.split(",")]
        with problems:
            ranged = all(isinstance(v.value, int | float) for v in ends.values())  # true is the number 1
            if not field.strip() or not is_one_line(text) or not (ranged or len(values) > 1):
                shown = text if is_one_line(text) else repr(text)
                raise SpecError(
                    f"--tune {shown}: needs FIELD=LOW..HIGH[:log] or FIELD=A,B,..., such as "
                    "optimizer.lr=0.0005..0.05:log"
                )
            if name in found:
                raise SpecError(f"--tune {text}: {field.strip()} has a range already")
            log = {"log": True} if searched.endswith(":log") else {}
            found[name] = {**ends, **log} if ranged else values
    problems.check()
    found |= {"trials" if study else "tune.trials": trials} if trials is not None else {}
    chosen = numbers(seeds, "--tuning-seeds")
    return found | ({"tune.seeds": chosen} if chosen is not None else {})


def seed_list(text: str | None) -> list[int] | None:
    """`0,1,2` as numbers."""
    return numbers(text, "--seeds")


def numbers(text: str | None, option: str) -> list[int] | None:
    """`0,3,3` as numbers."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(
        re.fullmatch("-?[0-9]{1,20}", part) for part in parts
    ):  # int() takes 1_0, and digits of any script
        raise SpecError(f"{option} {text}: needs whole numbers separated by commas, such as 0,1,2")
    return [int(part) for part in parts]


def chosen_budgets(text: str | None) -> dict[str, Any]:
    """`--budgets 0.5,1,2` as `--set` would have it."""
    parts = [part.strip() for part in text.split(",")] if text is not None else []
    if not all(re.fullmatch(r"[0-9]+(\.[0-9]+)?", part, re.ASCII) for part in parts):
        raise SpecError(f"--budgets {text}: needs numbers separated by commas, such as 0.5,1,2")
    return {"budgets": [float(part) if "." in part else int(part) for part in parts]} if parts else {}


def levels(text: str | None) -> list[float]:
    """`20,2,0.5` as descending noise levels."""
    try:
        found = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        found = [-1.0]
    if any(b >= a for a, b in itertools.pairwise(found)) or any(not 0 < s < 1e6 for s in found):
        raise SpecError(f"--sigmas {text}: needs positive levels in descending order, such as 20,2,0.5")
    return found


def takes(
    shared: Callable[..., Any], unless: str = ""
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the parameters of `shared`, whose result becomes the command's first argument.

    Args:
        unless: a flag of the command with which it needs no file; the first argument is then None.
    """
    common = dict(inspect.signature(shared).parameters)
    if unless:
        common["file"] = common["file"].replace(default=None)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [*inspect.signature(command).parameters.values()][1:]

        def call(**given: Any) -> None:
            mine = {name: given.pop(name) for name in common}
            if unless and mine["file"] is None and not given[unless]:
                raise SpecError(f"FILE: needs an experiment file, or --{unless}")
            command(None if unless and given[unless] else shared(**mine), **given)

        hints = get_type_hints(shared, include_extras=True) | get_type_hints(command, include_extras=True)
        parameters = [p.replace(annotation=hints[p.name]) for p in (*common.values(), *own)]
        call.__name__, call.__doc__ = command.__name__, command.__doc__
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        return call

    return decorate


@dataclass(frozen=True)
class Source:
    """A file with what the command line changes in it: profile, `--set`, seeds."""

    file: Path
    profile: str | None
    overrides: dict[str, Any]
    seeds: list[int] | None

    def experiment(self, runs_dir: Path | None = None, records: str | None = None) -> Experiment:
        """The planned experiment; with `runs_dir` also where its images are gone, to read what is recorded.

        Args:
            records: where the cells are read from instead: a records file, a folder with one, or a tracking URI.
        """
        from ablate.planning import planner

        file = Path(records) if records and "://" not in records else None
        return planner.load(self.file, self.profile, self.overrides, self.seeds, runs=runs_dir, records=file)

    def recorded(self, runs_dir: Path) -> Experiment:
        """The planned experiment with the further seeds that its claims asked for and that are recorded."""
        from ablate.analysis import sequential

        return sequential.recorded(self.experiment(runs_dir), runs_dir)


def source(
    file: FILE,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    tune: TUNE = None,
    trials: TRIALS = None,
    tuning_seeds: TUNING_SEEDS = None,
    budgets: BUDGETS = None,
) -> Source:
    """The parameters of every command on a file."""
    from ablate.planning.file import is_study

    searched = tuned(tune, trials, tuning_seeds, study=trials is not None and is_study(file))
    changed = overrides(set_) | searched | chosen_budgets(budgets)
    return Source(file, profile, changed, seed_list(seeds))
