"""What a training step launches, by stage and size of network: `python benchmarks/launches.py [--before FOLDER]`.

Counted on `meta` in float32; a step on the CPU is timed beside it. FOLDER has the source of an earlier commit
(`git archive COMMIT | tar -x -C FOLDER`), which is counted and timed in turn with this one; without it, the counts of
the last comparison are kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.command import QUICK, parser
from support.results import FILE, Row, save, spread

HERE = Path(__file__).parent
PROFILES = ["digits"] if QUICK else ["digits", "cifar10-8px", "cifar10-1gpu", "cifar10-paper"]
PAIRS = 1 if QUICK else 3
Counts = dict[str, dict[str, list[int]]]  # profile -> stage -> launches, those that are products


def found(tree: Path, *arguments: str) -> Any:
    """What `support/launches.py` prints about a source tree."""
    command = [sys.executable, str(HERE / "support" / "launches.py"), *arguments]
    env = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout)


def total(stages: dict[str, list[int]], kind: int = 0) -> int:
    """The launches of a step; kind 1: its products."""
    return sum(counts[kind] for stage, counts in stages.items() if stage != "logging")


def table(now: Counts, before: Counts) -> str:
    """Launches before and now, a stage a row, for README.md."""
    lines = ["| stage | " + " | ".join(f"`{p}`" for p in now) + " |", "|---|" + "---|" * len(now)]

    def line(name: str, old: list[int], new: list[int]) -> None:
        cells = (str(b) if a == b else f"{a} to {b}" for a, b in zip(old, new, strict=True))
        lines.append(f"| {name} | {' | '.join(cells)} |")

    for stage in now["digits"]:
        line(stage, *([counts[p][stage][0] for p in now] for counts in (before, now)))
    line("a step", *([total(counts[p]) for p in now] for counts in (before, now)))
    line("of these products", *([total(counts[p], 1) for p in now] for counts in (before, now)))
    return "\n".join(lines)


def main(tree: Path | None) -> None:
    """A row for each size, and one for the time of a step."""
    here, kept = HERE.parent, json.loads(FILE.read_text()).get("launches", {}).get("found", {})
    now = found(here, *PROFILES)
    before = found(tree, *PROFILES) if tree else kept.get("before", now)
    pairs = [[found(t, "--time") for t in (tree, here)] for _ in range(PAIRS)] if tree else kept.get("ms", [])
    print(table(now, {p: before[p] for p in now}))
    rows = []
    for p in now:
        a, b = total(before[p]), total(now[p])
        rest = f"{b - total(now[p], 1)} of {a - total(before[p], 1)} are neither convolution nor product"
        seen = f"{b} of {a} ({100 * b / a:.0f} %)"
        rows.append(Row(f"ict on {p}: launches of a step, of those before", "50 %", seen, f"eager; {rest}"))
    if pairs:
        ratios = [new / old for old, new in pairs]
        how = f"digits, one thread, CPU time, {len(pairs)} pairs of processes"
        rows.append(Row("a step on the CPU against one before", "1.00", spread(ratios, ".2f", " x"), how))
    save("launches", rows, {"now": now, "before": before, "ms": pairs})


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("--before", type=Path, help="source of an earlier commit")
    main(command.parse_args().before)
