"""Cells of table 1 an hour, `run` against a plain loop over the same cells: `python benchmarks/table_rate.py`.

A subset of four rows at the whole digits budget; `run` is timed as a command, with its start, checks, MLflow
and report, in a runs directory that has been used before. Both find the extractor trained.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from support.command import QUICK, parser
from support.results import Row, save, seconds

from ablate.core.hardware import cores
from ablate.planning import planner
from ablate.runs.store import Store

ROWS = """
name: subset
plan:
  - list: [{base: ct, label: ct}, {label: ict}, {label: teacher, set: {teacher: adaptive}},
           {label: weighting, set: {weighting: uniform}}]
"""
SMALL = ["--set", "profile.images=320", "--set", "profile.evaluation.samples=64"]
BUDGET = SMALL if QUICK else []


def run(place: Path, *more: str) -> None:
    """The command, quietly."""
    command = [sys.executable, "-m", "ablate", "run", "subset.yaml", *more]
    subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def plainly(place: Path) -> float:
    """Seconds of the same cells, one after another, in a process with torch's defaults."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import table_rate; table_rate.one_by_one()"
    command = [sys.executable, "-c", code, *(["--quick"] if QUICK else [])]
    return seconds(lambda: subprocess.run(command, cwd=place, check=True))


def one_by_one() -> None:
    """What that process does."""
    from support import plain

    small = {"profile.images": 320, "profile.evaluation.samples": 64} if QUICK else {}
    for cell in planner.load("subset.yaml", overrides=small).cells.values():
        print(
            f"  plain, {cell.recipe.teacher.name}: FID {plain.compute(cell, Store('runs').cache)}", flush=True
        )


def main() -> None:
    """One run of each side, after another of another seed that makes what is kept."""
    place = Path(tempfile.mkdtemp(prefix="ablate-table-"))
    try:
        (place / "subset.yaml").write_text(ROWS)
        run(place, "--seeds", "1", *SMALL)
        ours, plain = seconds(lambda: run(place, *BUDGET)), plainly(place)
    finally:
        shutil.rmtree(place)
    cells = 4
    rates = f"{3600 * cells / ours:.0f} against {3600 * cells / plain:.0f} cells an hour"
    how = f"{cells} cells of the whole budget on {cores()} cores, one run of each side; more cells by extrapolation"
    what = "table 1 on digits: cells an hour of `run` against a plain loop"
    save("table_rate", [Row(what, "3", f"{plain / ours:.2f} x: {rates}", how)], [ours, plain])


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
