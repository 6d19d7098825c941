"""What this machine computes on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from functools import lru_cache
from pathlib import Path

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's names of what mallopt sets
# what the server that forks the workers imports once, for all cells
PRELOAD = ["ablate.runs.worker", "sklearn.datasets", "torch_fidelity.metrics", "torchvision.utils"]


def devices() -> list[str]:
    """The GPUs of this machine, else the CPU; asks the driver only where there is one."""
    driver = Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()
    if os.environ.get("CUDA_VISIBLE_DEVICES") != "" and driver:
        import torch

        if torch.cuda.is_available():
            return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu"]


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use(threads: int) -> None:
    """Let torch and the libraries of numpy and scipy compute with so many threads each in this process.

    Those two take every core unless told: with several workers a FID would take three times as long.
    Freed memory is kept, see `keep_freed`.
    """
    import scipy.linalg  # noqa: F401  only libraries that are loaded can be told
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)
    keep_freed()


def keep_freed() -> None:
    """Let the C library keep freed memory: else every step gives some back to the kernel and faults it in anew.

    Seen on a CPU with small networks: the kernel's 1 to 6 ms of a step of 45 to 160 ms go. Blocks above 64 MiB still
    are given back: they cost little for their size, and would leave holes.
    """
    _libc("mallopt", MMAP_THRESHOLD, 2**26)
    _libc("mallopt", TRIM_THRESHOLD, 2**31 - 1)


def give_back() -> None:
    """Give freed memory back to the kernel, once: after what is built in a way in which nothing is used later."""
    _libc("malloc_trim", 0)


def _libc(function: str, *arguments: int) -> None:
    with contextlib.suppress(AttributeError, OSError, TypeError):  # glibc alone has these
        getattr(ctypes.CDLL(None), function)(*arguments)


@lru_cache(maxsize=1)
def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
