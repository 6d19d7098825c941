"""Devices, cores, threads, memory and sockets of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import multiprocessing.util
import os
import platform
import tempfile
from functools import lru_cache
from itertools import takewhile
from multiprocessing.context import ForkServerContext
from pathlib import Path

from ablate.core.errors import SpecError
from ablate.core.lazy import torch

DRIVERS = ("/dev/nvidiactl", "/dev/dxg")  # present where NVIDIA's driver is, the latter under WSL
VISIBLE = "CUDA_VISIBLE_DEVICES"
NO_GPU = {"", "-1", "none", "void", "NoDevFiles"}  # values that hide GPUs: CUDA's, Docker's, Slurm's
LONGEST_TMPDIR = 70  # bytes: a socket's path has at most 103 on some systems, 33 of them below this folder
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's numbers for mallopt
# the server that forks the workers imports these once for all cells
PRELOAD = ["ablate.runs.worker", "sklearn.datasets", "torch_fidelity.metrics", "torchvision.utils"]


def devices() -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, or the CPU if it hides all of them or this machine has none.

    Imports torch only if an NVIDIA driver is present.

    Raises:
        SpecError: CUDA_VISIBLE_DEVICES names a GPU that this machine does not have; CUDA would leave it out silently.
    """
    wanted, driver = visible(), any(map(os.path.exists, DRIVERS))
    if wanted == [] or not driver:
        return ["cpu"]
    import torch

    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    # of several slices of a GPU, CUDA shows one at a time
    slices = any(name.startswith("MIG-") for name in wanted or ())
    if wanted and present < (1 if slices else len(wanted)):
        raise SpecError(
            f"CUDA_VISIBLE_DEVICES={os.environ[VISIBLE]}: torch finds {present} of these GPUs; "
            "name those that exist, or set it to -1 to compute on the CPU"
        )
    return [f"cuda:{i}" for i in range(present)] or ["cpu"]


def visible() -> list[str] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES names, which end at the first -1 or other non-name; None if it is not set."""
    if (text := os.environ.get(VISIBLE)) is None:
        return None
    return list(takewhile(lambda name: name not in NO_GPU, (name.strip() for name in text.split(","))))


def cores() -> int:
    """The number of processor cores that this process may use; inside a Slurm job, at most those of its task."""
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE") or ""
    return min(present, int(given)) if given.isdecimal() and int(given) else present


def memory(device: str) -> int:
    """Bytes of memory of a device; of the CPU, what the machine or the job's limit has."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    import psutil

    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(int(psutil.virtual_memory().total), int(text) if text.isdecimal() else 2**63)


def sent(x: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """x on `device`; the host does not wait for a GPU, as it does when it copies memory that is not pinned."""
    if torch.device(device).type == "cuda" and x.device.type == "cpu":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)


def forkserver() -> ForkServerContext:
    """The context of the server that forks workers; its socket lies in a folder whose path is short enough for one."""
    shorten_sockets()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def shorten_sockets() -> None:
    """Have multiprocessing put the sockets of this process into a short folder, if TMPDIR is too long for them.

    Raises:
        SpecError: there is no other folder for temporary files.
    """
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= LONGEST_TMPDIR:
        return
    short = next((folder for folder in ("/tmp", "/var/tmp") if os.access(folder, os.W_OK | os.X_OK)), None)
    if short is None:
        reason = f"{len(usual)} characters; sockets need a path of at most {LONGEST_TMPDIR}"
        raise SpecError(f"TMPDIR={usual}: {reason}")
    tempfile.tempdir = short
    try:
        multiprocessing.util.get_temp_dir()  # made once, and passed on to child processes
    finally:
        tempfile.tempdir = usual


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
