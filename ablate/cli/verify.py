"""`verify`: compute cells of a report again on this machine."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ablate.cli.options import AS_JSON, SET, overrides
from ablate.core.errors import SpecError

if TYPE_CHECKING:
    from ablate.runs.verify import Verified

app = typer.Typer()
PATHS = "profile.data.path", "profile.data.test_path"


@app.command(rich_help_panel="Results", epilog="Example: ablate verify reports/table1 --cells 1")
def verify(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="The folder of a report.")],
    keys: Annotated[
        Optional[list[str]], typer.Argument(metavar="[KEY]...", help="These cells; else --cells of them.")
    ] = None,
    cells: Annotated[int, typer.Option(min=1, help="How many cells to compute.")] = 3,
    set_: SET = None,
    as_json: AS_JSON = False,
) -> None:
    """Compute some cells of a report again, and say whether their FIDs are the same here; exit code 1 if one differs.

    A difference that is known between processors is none.
    """
    from ablate.evaluation import ruler
    from ablate.runs import failures, records_file, verify
    from ablate.runs.store import Store, restore

    given = overrides(set_)
    if wrong := [key for key in given if key not in PATHS]:
        raise SpecError(
            f"--set {wrong[0]}: only {' and '.join(PATHS)} can be set: the cells are what they are"
        )
    lines = records_file.read(report / records_file.FILE if report.is_dir() else report)
    if not lines:
        raise SpecError(
            f"{report}: no report with records of cells: it has no {records_file.FILE} with results"
        )
    moved = {key.rpartition(".")[2]: value for key, value in given.items()}
    todo = verify.chosen(lines, keys or [], cells)
    planned = {key: verify.here(restore(lines[key]["config"]), moved) for key in todo}
    found: list[Verified] = []
    failed: dict[str, Exception] = {}
    with tempfile.TemporaryDirectory(prefix="ablate-verify-") as place:
        store = Store.writable(place)
        wanted = ruler.labels(line["record"] for line in lines.values())
        ruler.install(report if report.is_dir() else report.parent, wanted, store.cache)
        for key, data in planned.items():
            try:
                one = verify.again(lines[key]["config"], lines[key]["record"], store, data)
            except Exception as error:
                failed[key] = failures.of_one_cell(error, store.path)
                print(f"{key}: {failures.line(failed[key])}", file=sys.stderr, flush=True)
                continue
            found.append(one)
            if not as_json:
                print(_text(one), flush=True)
    if as_json:
        print(json.dumps([one.plain() for one in found], indent=1))
    mistake = any(isinstance(error, SpecError) for error in failed.values())
    different = any(one.state == verify.DIFFERENT for one in found)
    sys.exit(2 if mistake else 1 if failed or different else 0)


def _text(one: Verified) -> str:
    lines = [f"{one.key}: {one.state}"]
    for v in one.values:
        here = "not measured so" if v.here is None else f"{v.here:.6g}"
        lines.append(
            f"  {v.metric}, {v.nfe} step{'s' * (v.nfe > 1)}: {v.recorded:.6g}, here {here}: {v.state}"
        )
    return "\n".join([*lines, *(f"  {line}" for line in one.why)])
