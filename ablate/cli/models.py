"""`sample`, `midpoint`, `edit` and `export`: use a finished cell."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from ablate.cli.options import AS_JSON, KEY, RUNS, SEED, expanded, levels

app = typer.Typer()


@app.command(rich_help_panel="A finished cell")
def sample(
    key: KEY,
    n: Annotated[int, typer.Option("-n", min=1, help="How many images.")] = 64,
    sigmas: Annotated[
        Optional[str], typer.Option(help="Levels after sigma_max, descending: 0.821 or 20,2,0.5.")
    ] = None,
    seed: SEED = 0,
    out: Annotated[Path, typer.Option(help="The PNG to write.", callback=expanded)] = Path("samples.png"),
    runs_dir: RUNS = Path("runs"),
) -> None:
    """Draw images from a finished cell as one PNG."""
    from ablate.inference.model import draw
    from ablate.runs.store import Store

    print(draw(Store(runs_dir), key, n, levels(sigmas), seed, out))


@app.command(rich_help_panel="A finished cell")
def midpoint(
    key: KEY,
    n: Annotated[
        Optional[int], typer.Option("-n", min=16, help="Samples per FID; the profile's number by default.")
    ] = None,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """Search the intermediate sigma of two-step sampling with the lowest FID; fresh noise confirms it."""
    from ablate.inference import intermediate_sigma
    from ablate.runs.store import Store

    found = intermediate_sigma.write(
        Store.writable(runs_dir), key, n, lambda line: print(line, file=sys.stderr, flush=True)
    )
    print(json.dumps(found) if as_json else intermediate_sigma.format_result(found))


@app.command(rich_help_panel="A finished cell")
def edit(
    key: KEY,
    task: Annotated[str, typer.Option(help="inpaint, colorize, superres, interpolate or denoise.")],
    image: Annotated[
        Optional[list[Path]],
        typer.Option(help="An image file; repeatable. Held-out images by default.", callback=expanded),
    ] = None,
    sigmas: Annotated[Optional[str], typer.Option(help="Descending levels, sigma_max included.")] = None,
    seed: SEED = 0,
    out: Annotated[Path, typer.Option(help="The PNG to write.", callback=expanded)] = Path("edited.png"),
    runs_dir: RUNS = Path("runs"),
) -> None:
    """Edit images with a finished cell: the PNG shows what is given, results and the original."""
    from ablate.inference import tasks
    from ablate.runs.store import Store

    print(tasks.write(Store(runs_dir), key, task, image or [], levels(sigmas), seed, out))


@app.command(rich_help_panel="A finished cell")
def export(
    key: KEY,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.", callback=expanded)],
    diffusers: Annotated[
        bool, typer.Option("--diffusers", help="Also a ConsistencyModelPipeline; for unet2d cells.")
    ] = False,
    mlflow: Annotated[
        bool,
        typer.Option("--mlflow", help="Also a model that mlflow.pytorch.load_model reads, in DIR/mlflow."),
    ] = False,
    runs_dir: RUNS = Path("runs"),
) -> None:
    """Write a finished cell's weights and configuration into a folder that needs nothing else."""
    from ablate.inference import export
    from ablate.runs.store import Store
    from ablate.tracking.tracker import save_model

    print(export.export(Store(runs_dir), key, out, diffusers))
    if mlflow:
        print(save_model(runs_dir, key, out / "mlflow"))
