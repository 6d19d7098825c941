"""What this machine offers for training, and what of the installation would fail here. Writes nothing."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from ablate.config.profile import CACHED
from ablate.core.files import typed_path
from ablate.core.hardware import DRIVERS, cores, devices, memory, processor, shorten_sockets
from ablate.core.lazy import torch

PACKAGE = "ablate-ct"
PORT = 5000  # of `ablate ui`
PATIENCE_S = 1.0  # of the matrix products that measure a device's rate
OLD_DRIVER = "torch finds no GPU although an NVIDIA driver is here"


class Fails(Exception):
    """What would fail on this machine, in one line."""


@dataclass(frozen=True)
class Line:
    """One finding; ok: nothing of it would fail."""

    what: str
    text: str
    ok: bool


def command(runs: Path, as_json: bool) -> int:
    """Print the findings; 1 if something would fail."""
    found = []
    for line in findings(runs):
        found.append(line)
        if not as_json:
            print(f"{line.what}: {line.text}{'' if line.ok else ': FAILED'}", flush=True)
    if as_json:
        print(json.dumps([asdict(line) for line in found], indent=1))
    return 0 if all(line.ok for line in found) else 1


def findings(runs: Path) -> Iterator[Line]:
    """All findings, one after another; a check that raises anything is one that fails."""
    checks: dict[str, Callable[[], str]] = {
        "installation": installation,
        "torch and torchvision": pair,
        "extras that are not installed": extras,
        "processor": cpu,
        "GPU": gpus,
    }
    for device in _devices():
        checks[f"bf16 on {device}"] = lambda d=device: rate(d)  # type: ignore[misc]
        checks[f"forward-mode differentiation on {device}"] = lambda d=device: forward_mode(d)  # type: ignore[misc]
    checks |= {
        "home": home,
        "temporary files": temporary,
        f"runs ({runs})": lambda: place(runs),
        f"cache ({CACHED})": lambda: place(typed_path(CACHED, "cache")),
        "port of `ablate ui`": port,
    }
    for what, check in checks.items():
        yield _line(what, check)


def _line(what: str, check: Callable[[], str]) -> Line:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries about themselves
        try:
            return Line(what, check(), True)
        except Fails as error:
            return Line(what, str(error), False)
        except Exception as error:
            return Line(what, " ".join(f"{type(error).__name__}: {error}".split())[:200], False)


def _devices() -> list[str]:
    try:
        return devices()
    except Exception:  # `gpus` says why
        return ["cpu"]


def _required() -> Iterator[tuple[str, str]]:
    """Each package that this one requires, and the extra that does, empty without one."""
    for text in metadata.requires(PACKAGE) or []:
        name = re.match(r"[\w.-]+", text)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", text)
        if name:
            yield name[0], extra[1] if extra else ""


def _absent(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return True
    return False


def installation() -> str:
    """The versions; fails if a required package is missing."""
    if missing := sorted({name for name, extra in _required() if not extra and _absent(name)}):
        raise Fails(f"{', '.join(missing)} missing: in your clone, run pip install -e .")
    return f"ablate {metadata.version(PACKAGE)}, Python packages complete"


def pair() -> str:
    """Their versions; fails if one was built for another version of the other."""
    names = f"torch {metadata.version('torch')}, torchvision {metadata.version('torchvision')}"
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise Fails(f"{names}: they do not belong together ({reason}): install both anew") from None
    return names


def extras() -> str:
    """Extras with a package that is missing; only options that name them need them."""
    missing = {extra for name, extra in _required() if extra not in ("", "dev", "docs") and _absent(name)}
    return ", ".join(sorted(missing)) or "none"


def cpu() -> str:
    """Its name, cores, threads and memory."""
    threads = os.environ.get("OMP_NUM_THREADS")
    said = f", OMP_NUM_THREADS={threads}" if threads else ""
    return f"{processor()}, {cores()} cores, {torch.get_num_threads()} threads{said}, {memory('cpu') / 1e9:.3g} GB"


def gpus() -> str:
    """Names, memory, and what torch was built for; fails if there is a driver but torch cannot use it."""
    version = torch.version.cuda
    if devices() != ["cpu"]:
        of = [torch.cuda.get_device_properties(d) for d in devices()]
        listed = ", ".join(f"{p.name} with {p.total_memory / 1e9:.3g} GB" for p in of)
        return f"{listed}; driver {driver()}, torch for CUDA {version}"
    if not any(map(os.path.exists, DRIVERS)):
        return "none"
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        return "none that CUDA_VISIBLE_DEVICES leaves"
    built = f"torch is for CUDA {version}: the driver may be too old" if version else "torch is for CPUs only"
    raise Fails(f"{OLD_DRIVER} ({driver()}); {built}")


def driver() -> str:
    """The version of NVIDIA's driver."""
    try:
        found = re.search(r"Kernel Module\D*([\d.]+)", Path("/proc/driver/nvidia/version").read_text())
    except OSError:
        found = None
    return found[1] if found else "of unknown version"


def rate(device: str) -> str:
    """TFLOP/s of a product of matrices in bfloat16."""
    from ablate.core.registry import AXES
    from ablate.cost.bench import matmul_rate

    measured = matmul_rate(AXES["precision"].build("bf16"), device, PATIENCE_S)
    return f"{measured / 1e12:.3g} TFLOP/s measured"


def forward_mode(device: str) -> str:
    """Whether attention can be differentiated forwards, as pairings with a slope of the teacher need."""
    from ablate.training.denoiser import derivative

    def attention(x: torch.Tensor, sigma: torch.Tensor, *_: object, **more: object) -> torch.Tensor:
        mixed: torch.Tensor = torch.nn.functional.scaled_dot_product_attention(x, x, x)
        return mixed * sigma[:, None, None, None]

    x = torch.ones(2, 1, 4, 8, device=device)
    slope = derivative(attention, x, torch.ones(2, device=device), x)  # type: ignore[arg-type]
    if not slope.isfinite().all():
        raise Fails("an attention kernel returns numbers that are not finite")
    return "works in attention"


def home() -> str:
    """Your home folder; fails if there is none and none can be made."""
    folder = typed_path("~", "HOME")
    if folder.is_dir():
        return str(folder)
    try:
        return f"{folder} does not exist; it can be made: {place(folder)}"
    except Fails as error:
        raise Fails(f"{folder} does not exist and cannot be made: {error}") from None


def temporary() -> str:
    """Where temporary files go; fails if sockets cannot be made there."""
    shorten_sockets()
    return tempfile.gettempdir()


def place(folder: Path) -> str:
    """Free disk where a folder is or would be made; fails if you cannot write there."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = f"{shutil.disk_usage(there).free / 1e9:.3g} GB free"
    if not there.is_dir():
        raise Fails(f"{there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise Fails(f"{free}, but you cannot write to {there}")
    return free


def port() -> str:
    """Whether it is free, else the next one that is."""
    for number in range(PORT, PORT + 100):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", number))
            except OSError:
                continue
        return f"{PORT} is free" if number == PORT else f"{PORT} is taken: use `ablate ui --port {number}`"
    raise Fails(f"none of the ports {PORT} to {PORT + 99} is free")
