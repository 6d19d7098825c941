"""How soon commands answer: `python benchmarks/start.py`; each is a process of its own, five times."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from planning import SETS, ablate, finished
from support.command import QUICK, parser
from support.results import Row, save, seconds, spread

REPEATS = 1 if QUICK else 5
CELLS = 10 if QUICK else 40  # of the finished table
PATIENCE_S = 120.0


def first_step(place: Path, number: int, known_recipe: bool) -> float:
    """Seconds from the command to its first logged step; each time another cell, which is stopped then.

    Args:
        known_recipe: another seed of one recipe, which the doctor has examined; else a new recipe.
    """
    c, seed = (0.1, number) if known_recipe else (0.2 + number / 100, 0)
    file = place / f"first{number}.yaml"
    file.write_text(f"name: first\nseeds: [{seed}]\nplan: [{{list: [{{set: {{metric.c: {c}}}}}]}}]\n")
    known = {*place.glob("runs/*/metrics.jsonl")}
    command = [sys.executable, "-m", "ablate", "run", str(file), "--set", "profile.log_every=1"]
    started = time.time()  # the clock of the lines in metrics.jsonl
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.time() - started < PATIENCE_S:
            for lines in {*place.glob("runs/*/metrics.jsonl")} - known:
                if text := lines.read_text():
                    return float(json.loads(text.splitlines()[0])["time"]) - started
            time.sleep(0.05)
        raise TimeoutError(f"no step within {PATIENCE_S:.0f} s")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def begun(place: Path, known_recipe: bool) -> list[float]:
    """Some first steps, after one that makes what is kept: the extractor, the doctor's verdict."""
    return [first_step(place, i, known_recipe) for i in range(REPEATS + 1)][1:]


def main() -> None:
    """Four rows."""
    with tempfile.TemporaryDirectory(prefix="ablate-start-") as home:
        place = Path(home)
        file = finished(place, CELLS)
        run = ("run", str(file), *SETS)
        ablate(place, *run)  # the first time the report is written, and the doctor examines
        listed = [seconds(lambda: ablate(place, "list")) for _ in range(REPEATS)]
        again = [seconds(lambda: ablate(place, *run)) for _ in range(REPEATS)]
        known, new = begun(place, True), begun(place, False)
    how = f"a process each, {REPEATS} times"
    rows = [
        Row("`list`", "0.5 s", spread(listed, unit=" s"), how),
        Row(f"`run` of a finished table of {CELLS} cells", "3 s", spread(again, unit=" s"), how),
        Row(
            "first step of a digits cell after `run`",
            "6 s",
            spread(known, unit=" s"),
            f"{how}, another seed each",
        ),
        Row(
            "the same of a new recipe, the doctor first",
            "-",
            spread(new, unit=" s"),
            f"{how}, another recipe each",
        ),
    ]
    save("start", rows, {"list": listed, "finished": again, "first_step": known, "first_step_new": new})


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
