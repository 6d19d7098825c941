"""Every row that can be measured here, one after another: `python benchmarks/all.py [--minutes 30] [--only NAME ...]`.

Each row's script is a process of its own and keeps its result when it is done, so that an interruption loses
one row. A row that would not fit into what is left of the time is left out and said so; how long it takes is
known from the last time, else guessed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.command import parser

HERE = Path(__file__).parent
GUESSES = {  # minutes on two cores, the ones that matter most first; used until a row has been measured
    "start": 3.0,
    "decoding": 5.0,
    "report": 2.0,
    "around": 3.0,
    "evaluation": 1.0,
    "script_step": 4.0,
    "network_rate": 5.0,
    "table_rate": 6.0,
    "prediction": 5.0,
    "growth": 5.0,
    "launches": 1.0,
    "paper_scale": 0.2,
    "gpu": 0.2,
}


def minutes_of(name: str) -> float:
    """How long a row takes."""
    file = HERE / "results.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    return float(kept[name]["seconds"]) / 60 if name in kept else GUESSES[name]


def measured(name: str, limit_s: float, quick: bool) -> str:
    """How a row's script ended."""
    command = [sys.executable, str(HERE / f"{name}.py"), *(["--quick"] if quick else [])]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        code = process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return "took too long"
    finally:
        if process.poll() is None:  # its own commands too
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    return "done" if code == 0 else f"failed with {code}"


def main() -> int:
    """The number of rows that failed."""
    command = parser(__doc__)
    command.add_argument("--minutes", type=float, default=30.0, help="time for all rows together")
    command.add_argument("--only", nargs="+", choices=GUESSES, default=list(GUESSES), help="rows to measure")
    given, began, failures = command.parse_args(), time.monotonic(), 0
    for number, name in enumerate(given.only, 1):
        left, needs = given.minutes - (time.monotonic() - began) / 60, minutes_of(name)
        head = f"[{number}/{len(given.only)}] {name}"
        if needs > left:
            print(f"{head}: left out: it needs about {needs:.1f} minutes, {left:.1f} are left", flush=True)
            continue
        print(f"{head}: about {needs:.1f} minutes", flush=True)
        ended = measured(name, 60 * left, given.quick)
        print(f"{head}: {ended}, {(time.monotonic() - began) / 60:.1f} minutes so far", flush=True)
        failures += ended != "done"
    return failures


if __name__ == "__main__":
    sys.exit(main())
