"""How long planning takes, and `run` of what is finished: `python benchmarks/planning.py`, some minutes.

Records are copies of a really computed cell's under the other cells' keys, so that reading, reporting and MLflow have
what they have in earnest. A `run` is timed as a process of its own, the second time: the first writes the report.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from support.command import parser

from ablate.core.files import read_json, write_json
from ablate.core.hardware import cores, processor
from ablate.planning import planner
from ablate.runs.store import Store

SMALL = ["profile.images=512", "profile.evaluation.samples=64", "network.width=8", "network.attention=[]"]
SETS = [part for pair in SMALL for part in ("--set", pair)]


def written(place: Path, cells: int) -> Path:
    """An experiment file of so many cells."""
    path = place / f"sweep{cells}.yaml"
    values = [round(0.001 + 0.0001 * i, 6) for i in range(cells // 10)]
    path.write_text(
        f"name: sweep{cells}\nseeds: {list(range(10))}\nplan: [{{grid: {{metric.c: {values}}}}}]\n"
    )
    return path


def ablate(place: Path, *arguments: str, home: Path | None = None) -> None:
    """Run a command, quietly; in another home, which has no kept counts at first."""
    command = [sys.executable, "-m", "ablate", *arguments]
    env = {**os.environ, **({"HOME": str(home)} if home else {})}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, cwd=place, env=env, check=True, **quiet)


def finished(place: Path, cells: int) -> Path:
    """An experiment whose cells all have records; its file."""
    file, overrides = written(place, cells), dict(pair.split("=", 1) for pair in SMALL)
    overrides = {k: [] if v == "[]" else int(v) for k, v in overrides.items()}
    experiment, store = planner.load(file, overrides=overrides), Store(place / "runs")
    one = place / "one.yaml"
    one.write_text("name: one\nplan: [{list: [{}]}]\n")
    ablate(place, "run", str(one), *SETS, "--no-doctor")
    done = next(r for r in map(store.record, store.keys()) if r)
    source = store.folder(done["key"])
    for cell in experiment.cells.values():
        folder = store.prepare(cell)
        folder.metrics.write_bytes(source.metrics.read_bytes())
        for image in source.samples.iterdir():
            (folder.samples / image.name).write_bytes(image.read_bytes())
        record = read_json(source.record) | {"key": cell.key, "seed": cell.seed}
        write_json(folder.record, record)
    return file


def median(work: Callable[[], object], times: int) -> tuple[float, float, float]:
    """Median, least and most seconds of so many repetitions."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return statistics.median(found), min(found), max(found)


def main() -> None:
    """Print a table in Markdown."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="ablate-planning-") as home:
        place = Path(home)
        file = written(place, 10_000)
        rows.append(("planning 10,000 cells", 5.0, median(lambda: planner.load(file), 5)))
        table = str(Path(__file__).parents[1] / "experiments" / "table1.yaml")
        for name, times in (("first", 1), ("again", 5)):
            dry = median(lambda: ablate(place, "run", table, "--dry-run", home=place / "empty"), times)
            rows.append((f"`run table1.yaml --dry-run`, {name}", 2.0, dry))
        for cells, most in ((100, 3.0), (1000, 10.0)):
            arguments = ("run", str(finished(place, cells)), *SETS, "--no-doctor")
            ablate(place, "sync", *arguments[1:-1])  # as if they had just been computed: MLflow has them
            first = median(lambda a=arguments: ablate(place, *a), 1)  # type: ignore[misc]
            rows.append((f"`run` of {cells:,} finished cells, its report written", None, first))
            again = median(lambda a=arguments: ablate(place, *a), 5)  # type: ignore[misc]
            rows.append((f"`run` of {cells:,} finished cells", most, again))
    print(f"{processor()}, {cores()} cores, Python {sys.version.split()[0]}\n")
    print("| what | reach | median | least | most |\n|---|---|---|---|---|")
    for name, reach, (middle, least, most) in rows:
        wanted = "-" if reach is None else f"{reach:.0f} s"
        print(f"| {name} | {wanted} | {middle:.2f} s | {least:.2f} s | {most:.2f} s |")


if __name__ == "__main__":
    parser(__doc__, quick=False).parse_args()
    main()
