"""The report of a thousand cells with their curves and pictures: `python benchmarks/report.py`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from planning import SETS, ablate, finished
from support.command import QUICK, parser
from support.results import Row, save, seconds, spread

CELLS, REPEATS = (20, 1) if QUICK else (1000, 5)


def main() -> None:
    """One row; a process each, that writes into an empty folder."""
    with tempfile.TemporaryDirectory(prefix="ablate-report-") as home:
        place = Path(home)
        file = finished(place, CELLS)
        took = []
        for _ in range(REPEATS):
            shutil.rmtree(place / "reports", ignore_errors=True)
            took.append(seconds(lambda: ablate(place, "report", str(file), *SETS)))
    how = f"ten seeds a row, all tables, figures and the page, {REPEATS} times"
    save("report", [Row(f"`report` of {CELLS:,} cells", "10 s", spread(took, unit=" s"), how)], took)


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
