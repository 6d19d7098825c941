"""`convert` and `push`: weights of other projects, and weights for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ablate.cli.options import AS_JSON, expanded

app = typer.Typer()


@app.command(rich_help_panel="Checkpoints", epilog="Example: ablate convert edm-cifar10.pkl --out converted")
def convert(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A pickle of EDM or ECT, a state dict, safetensors, or a folder of diffusers or `export`.",
            callback=expanded,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.", callback=expanded)],
    resolution: Annotated[
        Optional[int], typer.Option(min=1, help="Pixels of an image's side, where the file does not say it.")
    ] = None,
    predicts: Annotated[
        Optional[str],
        typer.Option(help="denoiser or consistency, if not what networks of its project usually are."),
    ] = None,
    as_json: AS_JSON = False,
) -> None:
    """Convert a pretrained network for init_from; no code of a pickle is run."""
    from ablate.checkpoints.convert import convert
    from ablate.ingredients.init_from import CONVERTED

    found = convert(file, out, resolution, predicts)
    if as_json:
        print((out / CONVERTED).read_text(), end="")
        return
    print(f"{found.what}; it is a {'denoiser' if found.predicts == 'denoiser' else 'consistency function'}")
    for line in (*(f"dropped: {d}" for d in found.dropped), *(f"note: {n}" for n in found.notes)):
        print(line)
    print(out / "README.md")


@app.command(rich_help_panel="Checkpoints", epilog="Example: ablate push exported me/my-model")
def push(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of `export` or `convert`.", callback=expanded)
    ],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="On the Hugging Face hub.")],
    private: Annotated[bool, typer.Option("--private", help="If the repository is new.")] = False,
) -> None:
    """Upload a folder with its model card to the Hugging Face hub; needs a token (HF_TOKEN)."""
    from ablate.checkpoints.hub import push

    print(push(folder, repository, private))
