"""Commands, a few lines each; what is heavy is imported inside them."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer

from ablate import documents
from ablate import recipe as recipes
from ablate.options import (
    AS_JSON,
    FILE,
    KEY,
    PER_DEVICE,
    PROFILE,
    REPORTS,
    RETRIES,
    RUNS,
    SEED,
    SEEDS,
    SET,
    STALL,
    TRACKING,
    WORKERS,
    levels,
    overrides,
    seed_list,
)
from ablate.record import UNWRITABLE
from ablate.registry import AXES, SpecError, nearest

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Ablations of consistency training: experiment files in, tables out.",
)


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


@app.command()
def run(
    file: FILE,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    workers: WORKERS = None,
    workers_per_device: PER_DEVICE = 1,
    retries: RETRIES = 1,
    stall: STALL = None,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
    tracking_uri: TRACKING = None,
    failed: Annotated[bool, typer.Option("--failed", help="Compute failed cells once more.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cells and train nothing.")] = False,
    no_doctor: Annotated[bool, typer.Option("--no-doctor", help="Train without examining first.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Compute what is missing of an experiment, then write its report."""
    from ablate import plan, runner
    from ablate.doctor import gate
    from ablate.live import Live
    from ablate.resources import Resources
    from ablate.store import Store

    experiment = plan.load(file, profile, overrides(set_), seed_list(seeds))
    say = (lambda *words: None) if as_json else print
    for note in experiment.notes:
        say(f"note: {note}")
    if dry_run:
        print(json.dumps(plan.listing(experiment), indent=1) if as_json else plan.overview(experiment))
        return
    store = Store(runs_dir)
    means = Resources(workers, workers_per_device, retries=retries, stall_min=stall)
    if not no_doctor:
        gate.admit(experiment, store, say, failed)
    with Live(experiment, store, tracking_uri) as live:
        try:
            crew_of = partial(means.crew, experiment.profile)
            outcome = runner.run(experiment, store, crew_of, live.follow, failed)
        except KeyboardInterrupt:
            live.close([], {}, "interrupted")
            print("interrupted: the same command goes on from the last checkpoints", file=sys.stderr)
            sys.exit(130)
        folder = write_report(experiment, store, reports_dir)
        live.close([folder], outcome.counts(), "failed" if outcome.failed else "finished")
    told = {"report": str(folder), "states": outcome.states, "computed": outcome.computed}
    print(json.dumps(told) if as_json else runner.closing(outcome, folder))
    sys.exit(1 if outcome.failed else 0)


@app.command()
def doctor(
    file: FILE,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    compiled: Annotated[bool, typer.Option("--compiled", help="Compile the network for check 4.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Examine an experiment's recipes in seconds; exit code 1 where one fails other than on purpose."""
    from ablate import plan
    from ablate.doctor import gate

    experiment = plan.load(file, profile, overrides(set_), seed_list(seeds))
    sys.exit(gate.command(experiment, as_json, compiled))


def write_report(experiment: Any, store: Any, reports_dir: Path) -> Path:
    """The experiment's tables and figures; the folder they are in."""
    from ablate import report

    return report.write(experiment, store, reports_dir)


@app.command()
def report(
    file: FILE,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
) -> None:
    """Write tables and figures from what is recorded; never trains."""
    from ablate import plan
    from ablate.store import Store

    experiment = plan.load(file, profile, overrides(set_), seed_list(seeds))
    print(write_report(experiment, Store(runs_dir), reports_dir) / "table.md")


@app.command("list")
def list_(
    axis: Annotated[Optional[str], typer.Argument(help="One axis only.")] = None, as_json: AS_JSON = False
) -> None:
    """The axes, their contracts, options, fields and sources."""
    from ablate import catalogue

    if axis is not None and axis not in AXES:
        raise SpecError(f"{axis!r} is no axis; {nearest(axis, AXES)}")
    chosen = [axis] if axis else list(AXES)
    print(json.dumps(catalogue.plain(chosen), indent=1) if as_json else catalogue.text(chosen))


@app.command()
def show(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A name, a file, or the key of a cell.")],
    profile: PROFILE = None,
    set_: SET = None,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """A recipe with every field written out; with a profile, as it would be tried there, its network counted."""
    from ablate import catalogue

    shown = catalogue.described(recipe, profile, overrides(set_), runs_dir)
    print(json.dumps(shown, indent=1) if as_json else documents.write(shown), end="" if not as_json else "\n")


@app.command("diff")
def diff_(
    a: Annotated[str, typer.Argument(metavar="A", help="A recipe, a file, or the key of a cell.")],
    b: Annotated[str, typer.Argument(metavar="B")],
    profile: PROFILE = None,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """The fields in which two recipes differ."""
    from ablate import catalogue

    changes = recipes.diff(*(catalogue.recipe_of(name, profile, {}, runs_dir)[0] for name in (a, b)))
    print(json.dumps(changes, indent=1) if as_json else catalogue.changes(a, b, changes))


@app.command()
def sample(
    key: KEY,
    n: Annotated[int, typer.Option("-n", min=1, help="How many images.")] = 64,
    sigmas: Annotated[
        Optional[str], typer.Option(help="Levels after sigma_max, descending: 0.821 or 20,2,0.5.")
    ] = None,
    seed: SEED = 0,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("samples.png"),
    runs_dir: RUNS = Path("runs"),
) -> None:
    """Draw images from a finished cell into a PNG."""
    from ablate.model import draw
    from ablate.store import Store

    print(draw(Store(runs_dir), key, n, levels(sigmas), seed, out))


@app.command()
def midpoint(
    key: KEY,
    n: Annotated[
        Optional[int], typer.Option("-n", min=16, help="Samples per FID; the profile's number by default.")
    ] = None,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """Search the second level of two-step sampling that gives the lowest FID, and judge it by fresh noise."""
    from ablate import midpoint
    from ablate.store import Store

    found = midpoint.write(Store(runs_dir), key, n, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(found) if as_json else midpoint.told(found))


@app.command()
def edit(
    key: KEY,
    task: Annotated[str, typer.Option(help="inpaint, colorize, superres, interpolate or denoise.")],
    image: Annotated[
        Optional[list[Path]], typer.Option(help="An image file; repeatable. Held-out images by default.")
    ] = None,
    sigmas: Annotated[Optional[str], typer.Option(help="Descending levels, the first included.")] = None,
    seed: SEED = 0,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("edited.png"),
    runs_dir: RUNS = Path("runs"),
) -> None:
    """Edit images with a finished cell that was not trained for it: what is given, results, the original."""
    from ablate import tasks
    from ablate.store import Store

    print(tasks.write(Store(runs_dir), key, task, image or [], levels(sigmas), seed, out))


@app.command()
def export(
    key: KEY,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.")],
    diffusers: Annotated[
        bool, typer.Option("--diffusers", help="Also a ConsistencyModelPipeline; for unet2d cells.")
    ] = False,
    runs_dir: RUNS = Path("runs"),
) -> None:
    """Write a finished cell's weights and config into a folder that needs nothing else."""
    from ablate import export
    from ablate.store import Store

    print(export.export(Store(runs_dir), key, out, diffusers))


@app.command()
def ui(
    runs_dir: RUNS = Path("runs"),
    tracking_uri: TRACKING = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open the MLflow UI on this machine's loopback address."""
    from ablate.tracking import serve

    sys.exit(serve(runs_dir, tracking_uri, port))
