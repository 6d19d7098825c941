"""How much faster two workers finish a sweep of equal cells than one: `python benchmarks/workers.py [WORKERS]`.

Both sides alternate, each in a runs directory of its own that has the extractor already; the time is that of the whole
command, its start and its report included.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.command import parser

from ablate.core.hardware import cores, processor

FILE = "name: equal\nseeds: [0, 1, 2, 3]\nplan: [{grid: {metric.c: [0.01, 0.1]}}]\n"
REPEATS = 3
BUDGET = ["--no-doctor"]  # of digits, whole


def timed(place: Path, workers: int, cache: Path) -> float:
    """Seconds of a run in an empty folder."""
    home = Path(tempfile.mkdtemp(dir=place))
    shutil.copytree(cache, home / "runs" / "cache")
    started = time.perf_counter()
    run(home, "--workers", str(workers))
    return time.perf_counter() - started


def run(home: Path, *more: str) -> None:
    """Run the sweep in a folder."""
    (home / "equal.yaml").write_text(FILE)
    command = [sys.executable, "-m", "ablate", "run", "equal.yaml", *BUDGET, *more]
    subprocess.run(command, cwd=home, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main(workers: int) -> None:
    """Print a line in Markdown."""
    with tempfile.TemporaryDirectory(prefix="ablate-workers-") as folder:
        place = Path(folder)
        (place / "first").mkdir()
        run(place / "first", "--seeds", "0", "--set", "metric=l1")
        cache = place / "first" / "runs" / "cache"
        pairs = [(timed(place, 1, cache), timed(place, workers, cache)) for _ in range(REPEATS)]
    one, many = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratios = [a / b for a, b in pairs]
    print(f"{processor()}, {cores()} cores\n")
    print(
        "| what | 1 worker | more workers | times faster (median of pairs, least, most) |\n|---|---|---|---|"
    )
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
    print(f"| 8 equal cells, {workers} workers | {one:.1f} s | {many:.1f} s | {spread} |")


if __name__ == "__main__":
    command = parser(__doc__, quick=False)
    command.add_argument("workers", nargs="?", type=int, default=2, help="processes of the faster side")
    main(command.parse_args().workers)
