"""The command that trains and examines what FIDs are measured by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.options import AS_JSON, REPORTS, RUNS, SET, overrides
from ablate.core.errors import SpecError

app = typer.Typer()


@app.command(rich_help_panel="Look up")
def extractor(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="A name or a path.")],
    set_: SET = None,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
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
    chosen = load_profile(profile, {key.removeprefix("profile."): v for key, v in given.items()})
    folder = reports_dir / "extractor"
    folder.mkdir(parents=True, exist_ok=True)  # before the work, which would be lost
    found = extractor_check.examine(chosen, Store.writable(runs_dir).cache)
    text = extractor_check.render(found, chosen)
    with atomic_write(folder / f"{chosen.name}.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(json.dumps(found.plain(), indent=1) if as_json else text + f"\n{folder / f'{chosen.name}.md'}")
