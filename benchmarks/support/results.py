"""What the rows of this folder found: results.json, and the table of README.md that is rendered from it.

A script of a row is run as `python benchmarks/NAME.py`; with `--quick` it takes tiny sizes, to see that it works, and
prints its rows without keeping them.
"""

from __future__ import annotations

import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from support.command import QUICK

HERE = Path(__file__).parents[1]
FILE, PAGE = HERE / "results.json", HERE / "README.md"
BEGIN, END = "<!-- results.json, rendered by all.py: begin -->", "<!-- results.json: end -->"
NO_GPU = "not measured: no GPU"
STARTED = time.perf_counter()


@dataclass(frozen=True)
class Row:
    """A line of the table: what is measured, what it should reach, what was seen, and how."""

    what: str
    reach: str
    seen: str
    how: str


def save(name: str, rows: Sequence[Row], found: Any = None) -> None:
    """Put a script's rows in the place of its earlier ones; `found` are the plain numbers behind them."""
    for row in rows:
        print(f"{row.what}: {row.seen} (reach: {row.reach}; {row.how})", flush=True)
    if QUICK:
        return
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    kept[name] = {
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "seconds": round(time.perf_counter() - STARTED),
        "rows": [asdict(row) for row in rows],
        "found": found,
    }
    FILE.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(rendered(PAGE.read_text(), kept))


def machine() -> str:
    """Processor, GPU if there is one, versions."""
    import torch

    from ablate.core.hardware import cores, processor

    gpu = [torch.cuda.get_device_name(0)] if torch.cuda.is_available() else []
    python = f"Python {sys.version.split()[0]}"
    return ", ".join([processor(), f"{cores()} cores", *gpu, python, f"torch {torch.__version__}"])


def rendered(page: str, kept: dict[str, Any]) -> str:
    """`page` with the table of all that is kept between its markers."""
    lines = ["| row | what | reach | seen | how | date |", "|---|---|---|---|---|---|"]
    for name, entry in kept.items():
        for row in entry["rows"]:
            answer = [f"`{name}.py`", row["what"], row["reach"], row["seen"], row["how"], entry["date"]]
            lines.append("| " + " | ".join(answer) + " |")
    machines = dict.fromkeys(entry["machine"] for entry in kept.values())
    names = {m: [f"`{n}`" for n, e in kept.items() if e["machine"] == m] for m in machines}
    answer = [m if len(machines) == 1 else f"{m}: {', '.join(names[m])}" for m in machines]
    before, rest = page.split(BEGIN)
    return "\n\n".join([before + BEGIN, *answer, "\n".join(lines), END + rest.split(END)[1]])


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def spread(values: Sequence[float], form: str = ".2f", unit: str = "") -> str:
    """Median, least and most, for a table."""
    middle, least, most = statistics.median(values), min(values), max(values)
    if len(values) == 1:
        return f"{middle:{form}}{unit}"
    return f"{middle:{form}}{unit} ({least:{form}} to {most:{form}})"
