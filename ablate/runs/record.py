"""What a cell leaves behind: its record, and where its numbers come from."""

from __future__ import annotations

import errno
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ablate.core.hardware import processor

# exit codes of a worker without a record: the cell is another's; it was asked to stop; nothing can be written
BUSY, INTERRUPTED, NO_DISK = 75, 130, 74
# errors that say nothing about a cell: the disk is full or read-only, or the folder has gone
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOENT, errno.EACCES, errno.EIO}


def blank(config: dict[str, Any], state: str, reason: str | None = None) -> dict[str, Any]:
    """A record without numbers, of the cell that `config` describes; `reason` says why it stays so."""
    return {
        "key": config["key"],
        "state": state,
        **({"reason": reason} if reason else {}),
        "recipe": config["recipe"],
        "profile": config["profile"]["name"],
        "seed": config["seed"],
        "images": 0,
        "wall_s": 0.0,
        "fid": [],
        "kid": [],
        "precision": [],
        "recall": [],
        "provenance": provenance(),
    }


@lru_cache(maxsize=1)
def _provenance() -> dict[str, Any]:
    packages = ("ablate", "torch", "torchvision", "torch-fidelity", "numpy")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "..", "../../experiments")),
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in packages}},
        "device": processor(),
    }


def provenance() -> dict[str, Any]:
    """Commit, versions, device."""
    return {k: dict(v) if isinstance(v, dict) else v for k, v in _provenance().items()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _git(*arguments: str) -> str | None:
    """What git says of the package's own repository, None outside one."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
