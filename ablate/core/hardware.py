"""Devices, cores, threads and memory of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from functools import lru_cache
from pathlib import Path

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's numbers for mallopt
# the server that forks the workers imports these once for all cells
PRELOAD = ["ablate.runs.worker", "sklearn.datasets", "torch_fidelity.metrics", "torchvision.utils"]


def devices() -> list[str]:
    """The GPUs of this machine, or the CPU if there are none. Imports torch only if an NVIDIA driver is present."""
    driver = Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()
    if os.environ.get("CUDA_VISIBLE_DEVICES") != "" and driver:
        import torch

        if torch.cuda.is_available():
            return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu"]


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use(threads: int) -> None:
    """Limit torch and the linear algebra of numpy and scipy to `threads` threads in this process.

    By default each takes every core, and with several workers a FID takes three times as long.
    Also keeps freed memory, see `keep_freed`.
    """
    import scipy.linalg  # noqa: F401  only libraries that are loaded can be limited
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)
    keep_freed()


def keep_freed() -> None:
    """Keep freed memory in this process; otherwise every step returns some to the kernel and faults it in again.

    With small networks on a CPU this saves the kernel's 1 to 6 ms of a step of 45 to 160 ms. Blocks above 64 MiB are
    still returned: they cost little for their size and would fragment the heap.
    """
    _libc("mallopt", MMAP_THRESHOLD, 2**26)
    _libc("mallopt", TRIM_THRESHOLD, 2**31 - 1)


def give_back() -> None:
    """Return freed memory to the kernel once, for example after building a network from many temporary tensors."""
    _libc("malloc_trim", 0)


def _libc(function: str, *arguments: int) -> None:
    with contextlib.suppress(AttributeError, OSError, TypeError):  # only glibc has these functions
        getattr(ctypes.CDLL(None), function)(*arguments)


@lru_cache(maxsize=1)
def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
