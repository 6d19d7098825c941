"""runs/<key>/: config, checkpoints, metrics and record of a cell. Files are replaced atomically."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import filelock

from ablate.config.profile import Profile
from ablate.config.recipe import load_plugins, rebuild
from ablate.core import code, hint
from ablate.core.errors import SpecError
from ablate.core.files import atomic_write, checksum, read_json, write_json
from ablate.core.lazy import torch
from ablate.planning.cells import Cell
from ablate.runs import failures

FORMAT = 1
REAL = "real.png"  # of a cell's samples: images that it was trained on
NAMED = "named.json"  # of a cell: the experiment and the row that last asked for it
CODE = "own_code"  # a folder of a cell and of an export: see `ablate.core.code`


class Folder:
    """The files of one cell."""

    def __init__(self, path: Path):
        self.path = path
        self.config, self.record, self.log = path / "config.json", path / "record.json", path / "log.txt"
        self.metrics, self.samples = path / "metrics.jsonl", path / "samples"
        self.usage = path / "usage.jsonl"  # of processor and memory, for information only
        self.model = path / "model.safetensors"  # the averaged weights of a finished cell
        self.code = path / CODE  # copies of your own modules
        self.state = path / "state.json"  # the last heartbeat: see `heartbeat`
        self.checkpoints = path / "checkpoint.pt", path / "checkpoint.previous.pt"
        self.checksums = path / "checkpoint.json"  # each is written before its checkpoint

    @property
    def key(self) -> str:
        """The cell's key."""
        return self.path.name

    @property
    def recorded(self) -> bool:
        """Whether the cell has a record; one that cannot be read, which a full disk leaves, is none."""
        record = read_json(self.record)
        return isinstance(record, dict) and record.get("key") == self.key

    def lock(self) -> filelock.FileLock:
        """The lock of the process that computes the cell; the kernel releases it when that process dies."""
        return filelock.FileLock(self.path / ".lock")

    def held(self) -> bool:
        """Whether a process on this machine computes the cell; needs no right to write."""
        try:
            handle = os.open(self.path / ".lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(handle)

    def append(self, step: int, images: int, metrics: dict[str, float]) -> None:
        """Append one line of metrics."""
        line = {"step": step, "images": images, "time": time.time(), "metrics": metrics}
        with self.metrics.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """Lines of metrics by step; if a step was repeated after a resume, its last line."""
        newest: dict[tuple[int, str], dict[str, Any]] = {}
        with contextlib.suppress(OSError):
            for text in self.metrics.read_text().splitlines():
                # cut off by a kill, or edited
                with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
                    line = json.loads(text)
                    kind = next(iter(line["metrics"]), "")  # losses, losses by level or an evaluation
                    newest[line["step"], kind] = line
        return sorted(newest.values(), key=lambda line: line["step"])

    def last(self) -> dict[str, Any] | None:
        """The newest line of training metrics, read from the end of the file; None before the first."""
        with contextlib.suppress(OSError, ValueError), self.metrics.open("rb") as file:
            file.seek(max(0, self.metrics.stat().st_size - 4096))
            for text in reversed(file.read().decode(errors="replace").splitlines()):
                if '"loss"' in text and text.endswith("}}"):
                    return dict(json.loads(text))
        return None

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; the previous one is kept in case this one cannot be read."""
        newest, previous = self.checkpoints
        with atomic_write(newest) as temporary:
            torch.save(state, temporary)
            write_json(self.checksums, [checksum(temporary), *(read_json(self.checksums) or [])][:3])
            if newest.exists():
                os.replace(newest, previous)

    def load(self, device: str) -> dict[str, Any] | None:
        """The newest readable checkpoint, or None; says which one another version has written.

        Raises:
            Exception: the machine failed. To start anew would replace checkpoints that are good.
        """
        known = read_json(self.checksums) or []
        for path in (p for p in self.checkpoints if p.exists() and checksum(p) in known):
            try:
                return dict(torch.load(path, map_location=device, weights_only=True))
            except Exception as error:
                if failures.of_machine(error) and not isinstance(error, pickle.UnpicklingError):
                    raise
                print(f"{path}: not used: {failures.line(error)}", flush=True)
        return None

    def clear(self) -> None:
        """Remove the files of an unfinished training, except its log."""
        self.remove_checkpoints()
        for path in (self.metrics, self.usage, self.model, self.state):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.samples, ignore_errors=True)

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints, which only an unfinished cell needs."""
        for path in (*self.checkpoints, self.checksums):
            path.unlink(missing_ok=True)


class Store:
    """A directory of cells by key, which need not exist; reading it writes nothing."""

    def __init__(self, runs: str | Path):
        self.path = Path(runs).resolve()

    @classmethod
    def writable(cls, runs: str | Path) -> Store:
        """The store in a directory that is created if there is none.

        Raises:
            SpecError: the directory cannot be created or written.
        """
        store = cls(runs)
        try:
            store.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=store.path):
                pass
        except OSError as error:
            raise SpecError(f"--runs-dir {runs}: {(error.strerror or str(error)).lower()}") from None
        return store

    @property
    def cache(self) -> Path:
        """The folder of extractors and reference statistics, for commands that write."""
        path = self.path / "cache"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def folder(self, key: str) -> Folder:
        """The files of cell `key`; the directory may not exist yet."""
        return Folder(self.path / key)

    def record(self, key: str) -> dict[str, Any] | None:
        """The record of cell `key`, or None."""
        record = read_json(self.path / key / "record.json")  # no Folder, for speed: reports read thousands
        return record if isinstance(record, dict) and record.get("key") == key else None

    def unfinished(self, key: str) -> str:
        """Why a cell that needs cell `key` cannot start; empty if it can."""
        record = self.record(key)
        if not record:
            return f"it needs cell {key}, which is not computed"
        if record["state"] != "finished":
            return f"it needs cell {key}, which {record['state']}"
        if self.folder(key).model.is_file():
            return ""
        remove = hint.command("runs remove", key, hint.RUNS, self.path, keep=())
        return f"it needs cell {key}, whose weights are gone; after {remove}, run computes it"

    def prepare(self, cell: Cell) -> Folder:
        """Create the cell's folder and write its config.

        Of an unfinished cell that nobody computes, this replaces what is not part of the key, such as the data's path.
        """
        folder = self.folder(cell.key)
        folder.samples.mkdir(parents=True, exist_ok=True)
        before = read_json(folder.config)
        if not before or not (folder.recorded or folder.held()):
            config = {**(before or {}), **describe(cell)}
            if config != before:
                write_json(folder.config, config)
        return folder

    def keys(self) -> list[str]:
        """The keys of all cells that have a folder."""
        return sorted(p.parent.name for p in self.path.glob("*/config.json"))


def beginning(keys: Iterable[str], typed: str) -> list[str]:
    """The keys that begin with what somebody typed; none for nothing."""
    return [key for key in keys if typed and key.startswith(typed)]


def describe(cell: Cell) -> dict[str, Any]:
    """A cell as plain data, from which `restore` rebuilds it."""
    return {
        "format": FORMAT,
        "key": cell.key,
        "specs": cell.recipe.specs(),
        "profile": cell.profile.model_dump(mode="json"),
        "seed": cell.seed,
        "fingerprint": cell.fingerprint,
        "imports": list(cell.imports),
        **({"needs": {axis: describe(need) for axis, need in cell.needs.items()}} if cell.needs else {}),
    }


def restore(config: dict[str, Any], beside: Path | None = None) -> Cell:
    """Load the imports of a config from `describe`, then rebuild its cell."""
    load_plugins(config["imports"], beside)
    return assemble(config)


def complete(folder: Folder, cell: Cell, shape: Sequence[int]) -> None:
    """Add to a cell's folder what sampling needs besides weights: the shape of an image and copies of your code."""
    write_json(folder.config, {**describe(cell), "image_shape": list(shape)})
    code.copy(code.files({*cell.imports, *cell.recipe.own_modules()}), folder.code)


def assemble(config: dict[str, Any]) -> Cell:
    """Rebuild the cell of a config from `describe`, whose options are registered already."""
    profile = Profile.model_validate_json(json.dumps(config["profile"]), strict=True)
    needs = {axis: assemble(need) for axis, need in config.get("needs", {}).items()}
    given = (profile, config["seed"], config["fingerprint"], tuple(config["imports"]), needs)
    return Cell(config["key"], rebuild(config["specs"]), *given)
