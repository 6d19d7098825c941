"""Steps, memory and whole processes under the clock: what `cost` and `bench` share."""

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

WARM_UP, STEPS, PATIENCE_S = 5, 20, 60.0


def asked(module: str, cell: Cell, *arguments: object, copies: int = 1) -> list[dict[str, Any]]:
    """What so many processes of `python -m MODULE ARGUMENTS` say of a cell on their standard input, all at once.

    Raises:
        SpecError: one of them fails; its last words.
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
    for process in processes:  # all begin before the first is waited for
        assert process.stdin
        process.stdin.write(config)
        process.stdin.close()
        process.stdin = None
    said = [process.communicate() for process in processes]
    for process, (_, error) in zip(processes, said, strict=True):
        if process.returncode:
            raise SpecError((error.strip().splitlines() or ["it ended without a word"])[-1])
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


def answer(threads: int, found: Callable[[dict[str, Any]], Any]) -> None:
    """Print what is found of the cell on standard input, as JSON; one line of what went wrong for who asked."""
    use(threads)
    try:
        print(json.dumps(found(json.load(sys.stdin))))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")


def clock(device: str) -> Callable[[], float]:
    """Seconds, read when the device has done what it was told."""

    def now() -> float:
        if device != "cpu":
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    return now


def stepped(step: Callable[[], object], most: int, now: Callable[[], float]) -> list[float]:
    """Seconds of each of twenty calls after five others; of fewer, but two, where those take more than a minute."""
    took, began = list[float](), now()
    while len(took) < min(WARM_UP + STEPS, most) and (len(took) < 3 or now() - began < PATIENCE_S):
        before = now()
        step()
        took.append(now() - before)
        began = now() if len(took) <= 2 else began  # a compiled network's first two take minutes
    return took[min(WARM_UP, len(took) // 3) :]


def peak(device: str) -> int:
    """The most bytes of the GPU that this process has used, on a CPU of the machine's memory."""
    if device != "cpu":
        import torch

        return int(torch.cuda.max_memory_allocated())
    try:  # getrusage counts what the parent had when it forked, too
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
