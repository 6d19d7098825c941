"""Times steps and runs measurements in processes of their own, for `estimate` and `bench`."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ablate.core.errors import SpecError
from ablate.core.hardware import use
from ablate.planning.cells import Cell
from ablate.runs.store import describe

WARM_UP, STEPS, PATIENCE_S = 5, 20, 60.0  # untimed steps, timed steps, most seconds


def in_processes(module: str, cell: Cell, *arguments: object, copies: int = 1) -> list[dict[str, Any]]:
    """Run `copies` processes of `python -m MODULE ARGUMENTS` at the same time, each with the cell on standard input.

    Returns:
        What `print_measurement` printed in each.
    Raises:
        SpecError: one of them failed; its last line.
    """
    config = json.dumps(describe(cell))
    command = [sys.executable, "-m", module, *map(str, arguments)]
    processes = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(copies)
    ]
    for process in processes:  # start all before waiting for the first
        assert process.stdin
        process.stdin.write(config)
        process.stdin.close()
        process.stdin = None
    outputs = [process.communicate() for process in processes]
    for process, (_, error) in zip(processes, outputs, strict=True):
        if process.returncode:
            raise SpecError((error.strip().splitlines() or ["it ended without a message"])[-1])
    return [json.loads(out.splitlines()[-1]) for out, _ in outputs]


def print_measurement(threads: int, measure: Callable[[dict[str, Any]], Any]) -> None:
    """Measure the cell on standard input and print the result as JSON; an error exits with one line."""
    use(threads)
    try:
        print(json.dumps(measure(json.load(sys.stdin))))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")


def clock(device: str) -> Callable[[], float]:
    """A clock in seconds that synchronizes the device before it is read."""

    def now() -> float:
        if device != "cpu":
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    return now


def step_times(step: Callable[[], object], most: int, now: Callable[[], float]) -> list[float]:
    """Seconds of each of twenty calls after a warm-up of five; calls end early after a minute, but two are timed."""
    took, began = list[float](), now()
    while len(took) < min(WARM_UP + STEPS, most) and (len(took) < 3 or now() - began < PATIENCE_S):
        before = now()
        step()
        took.append(now() - before)
        began = now() if len(took) <= 2 else began  # the first two of a compiled network take minutes
    return took[min(WARM_UP, len(took) // 3) :]


def peak_memory(device: str) -> int:
    """Peak memory of this process in bytes: of the GPU, or of the machine on a CPU."""
    if device != "cpu":
        import torch

        return int(torch.cuda.max_memory_allocated())
    try:  # getrusage would also count the memory of the parent at the fork
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
