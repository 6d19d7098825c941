"""record.json: how a cell ended, its results, and their provenance."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, create_model

from ablate.core.hardware import processor
from ablate.evaluation.metrics import METRICS, Entry

STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")

State = Literal["finished", "diverged", "failed"]
ENDED: tuple[State, ...] = get_args(State)
RESULTS = "finished", "diverged"  # states of a record that has a result; what failed may succeed elsewhere

# exit codes of a worker without a record: another process has the cell; it was asked to stop; nothing can be written;
# this machine lacks something that the cell needs
BUSY, INTERRUPTED, NO_DISK, UNAVAILABLE = 75, 130, 74, 69
# errors of the disk, not of the cell: it is full or read-only, or the folder is gone
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
UNWRITABLE = FULL | {errno.ENOENT, errno.EACCES, errno.EIO}


class RealFid(BaseModel):
    """FID of real images, measured like that of samples; no model is expected to beat it."""

    model_config = STRICT
    fid: float | None = None
    n: int | None = None
    extractor: str | None = None
    reference: str | None = None
    halves: list[float] | None = None


class Provenance(BaseModel):
    """Where the numbers come from. `ranks`: the number of processes; `compiled`: whether torch.compile was used.

    extractor: where the weights that FIDs are measured with come from. images: where they were during training.
    """

    model_config = STRICT
    commit: str | None = None
    dirty: bool | None = None
    versions: dict[str, str] = {}
    device: str | None = None
    threads: int | None = None
    ranks: int | None = None
    compiled: bool | None = None
    data: str | None = None
    images: str | None = None
    extractor: str | None = None


class _Record(BaseModel):
    """record.json: how a cell ended. `wall_s` adds up all its workers, `floor` is the FID of real images."""

    model_config = STRICT
    key: str
    state: State
    reason: str | None = None
    profile: str = ""
    seed: int
    images: Annotated[int, Field(ge=0)]
    wall_s: float
    parameters: int | None = None
    floor: RealFid | None = None
    provenance: Provenance | None = None


# a list of entries per metric, one for each number of network evaluations
Record: type[_Record] = create_model(
    "Record", __base__=_Record, **{name: (list[Entry], []) for name in METRICS}
)  # type: ignore[call-overload]


def blank(config: Mapping[str, Any], state: str, reason: str | None = None) -> dict[str, Any]:
    """A record without results of the cell that `config` describes; `reason` says why it has none."""
    return {
        "key": config["key"],
        "state": state,
        **({"reason": reason} if reason else {}),
        "profile": config["profile"]["name"],
        "seed": config["seed"],
        "images": 0,
        "wall_s": 0.0,
        **{name: [] for name in METRICS},
        "provenance": provenance(),
    }


# by them, git's hooks name a repository
HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR")
CODE = "ablate", "experiments"  # folders whose changes a record mentions
ROOT = Path(__file__).parents[2]  # of this package's repository, if it is not installed


@lru_cache(maxsize=1)
def _provenance() -> dict[str, Any]:
    own = _own_repository(ROOT)
    packages = {"ablate": "ablate-ct"} | {p: p for p in ("torch", "torchvision", "torch-fidelity", "numpy")}
    return {
        "commit": _git(ROOT, "rev-parse", "HEAD") if own else None,
        "dirty": bool(_git(ROOT, "status", "--porcelain", "--untracked-files=no", "--", *CODE))
        if own
        else None,
        "versions": {
            "python": platform.python_version(),
            **{name: _version(p) for name, p in packages.items()},
        },
        "device": processor(),
    }


def provenance() -> dict[str, Any]:
    """Commit, package versions and device."""
    return {k: dict(v) if isinstance(v, dict) else v for k, v in _provenance().items()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _own_repository(root: Path) -> bool:
    """Whether `root` is the top of a repository of this package, not a folder in yours or your project with a copy."""
    with suppress(OSError, ValueError, LookupError):
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
        top = _git(root, "rev-parse", "--show-toplevel")
        return project == "ablate-ct" and top is not None and Path(top).samefile(root)
    return False


def _git(root: Path, *arguments: str) -> str | None:
    """The output of git in a folder, whatever repository the environment names; None outside a repository."""
    command = ["git", "-C", str(root), *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in HOOK}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
