"""What this machine computes on."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from pathlib import Path

# what the server that forks the workers imports once, for all cells
PRELOAD = ["ablate.cell", "sklearn.datasets", "torch_fidelity.metrics", "torchvision.utils"]


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
    """
    import scipy.linalg  # noqa: F401  only libraries that are loaded can be told
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)


@lru_cache(maxsize=1)
def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
