"""`sample`, `midpoint`, `edit` and `export`: use a finished cell."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from ablate.cli.options import AS_JSON, KEY, RUNS, SEED, expanded, levels, numbers
from ablate.core.errors import SpecError, nearest

app = typer.Typer()
FORMATS = ("safetensors", "edm-state-dict", "diffusers")


@app.command(rich_help_panel="A finished cell", epilog="Example: ablate sample 33dd -n 16 --sigmas 0.821")
def sample(
    key: KEY,
    n: Annotated[
        Optional[int], typer.Option("-n", min=1, help="How many images; one for each of --classes, or 64.")
    ] = None,
    sigmas: Annotated[
        Optional[str], typer.Option(help="Levels after sigma_max, descending: 0.821 or 20,2,0.5.")
    ] = None,
    seed: SEED = 0,
    classes: Annotated[
        Optional[str],
        typer.Option(metavar="0,3,...", help="Their classes in turn, if the cell was trained with labels."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The image to write, or a folder for one PNG per image.", callback=expanded)
    ] = Path("samples.png"),
    runs_dir: RUNS = Path("runs"),
) -> None:
    """Draw images from a finished cell as one PNG, or into a folder: --out samples."""
    from ablate.inference.model import draw
    from ablate.runs.store import Store

    chosen = numbers(classes, "--classes")
    print(draw(Store(runs_dir), key, n or len(chosen or ()) or 64, levels(sigmas), seed, out, chosen or ()))


@app.command(rich_help_panel="A finished cell", epilog="Example: ablate midpoint 33dd")
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


@app.command(rich_help_panel="A finished cell", epilog="Example: ablate edit 33dd --task inpaint")
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


@app.command(rich_help_panel="A finished cell", epilog="Example: ablate export 33dd --out exported")
def export(
    key: KEY,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.", callback=expanded)],
    diffusers: Annotated[
        bool, typer.Option("--diffusers", help="Also a ConsistencyModelPipeline; for unet2d cells.")
    ] = False,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="safetensors; edm-state-dict adds that of an EDMPrecond; diffusers: as --diffusers.",
        ),
    ] = "safetensors",
    license: Annotated[
        str, typer.Option(help="Of the weights, for the model card: a hub's word such as apache-2.0.")
    ] = "unknown",
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

    if form not in FORMATS:
        raise SpecError(f"--format {form}: {nearest(form, FORMATS)}")
    diffusers, edm = diffusers or form == "diffusers", form == "edm-state-dict"
    print(export.export(Store(runs_dir), key, out, diffusers, edm, license))
    if mlflow:
        print(save_model(runs_dir, key, out / "mlflow"))
