"""The command that trains and examines what FIDs are measured by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from ablate.cli.options import AS_JSON, REPORTS, RUNS, SET, expanded, overrides
from ablate.core.errors import SpecError

app = typer.Typer()


@app.command(rich_help_panel="Look up", epilog="Example: ablate extractor digits")
def extractor(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="A name or a path.")],
    set_: SET = None,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
    ship: Annotated[
        Optional[Path],
        typer.Option(
            metavar="FOLDER", help="Train it anew, into a file for other machines.", callback=expanded
        ),
    ] = None,
    images: Annotated[
        Optional[int], typer.Option(min=1, help="With --ship: train on so many images, not on 200,000.")
    ] = None,
    as_json: AS_JSON = False,
) -> None:
    """Train a profile's extractor, and examine whether its FID orders known damages of real images."""
    from ablate.config.profile import load_profile
    from ablate.core.files import atomic_write
    from ablate.evaluation import extractor_check
    from ablate.runs.store import Store

    given = overrides(set_)
    if wrong := [key for key in given if not key.startswith("profile.")]:
        raise SpecError(f"--set {wrong[0]}: only fields of the profile matter here: profile.{wrong[0]}?")
    given_profile = {key.removeprefix("profile."): v for key, v in given.items()}
    chosen = load_profile(profile, given_profile)
    if images and not ship:
        raise SpecError(f"--images {images}: needs --ship FOLDER")
    folder = reports_dir / "extractor"
    for made in (folder, *([ship] if ship else [])):
        made.mkdir(parents=True, exist_ok=True)  # before the work, which would be lost
    if ship:
        file = str(extractor_check.ship(chosen, ship, images))
        chosen = load_profile(profile, {**given_profile, "evaluation.extractor": file})
    found = extractor_check.examine(chosen, Store.writable(runs_dir).cache)
    text = extractor_check.render(found, chosen)
    with atomic_write(folder / f"{chosen.name}.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(json.dumps(found.plain(), indent=1) if as_json else text + f"\n{folder / f'{chosen.name}.md'}")
