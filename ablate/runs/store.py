"""runs/<key>/: what a cell is, how far it is, what it came to. Everything is written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import filelock

from ablate.config.profile import Profile
from ablate.config.recipe import Recipe, build, load_plugins
from ablate.core.errors import SpecError
from ablate.core.files import checksum, read_json, whole, write_json
from ablate.core.lazy import torch
from ablate.planning.cells import Cell

FORMAT = 1


class Folder:
    """The files of one cell."""

    def __init__(self, path: Path):
        self.path = path
        self.config, self.record, self.log = path / "config.json", path / "record.json", path / "log.txt"
        self.metrics, self.samples = path / "metrics.jsonl", path / "samples"
        self.usage = path / "usage.jsonl"  # of processor and memory; nothing is decided by it
        self.model = path / "model.safetensors"  # the averaged weights of a finished cell
        self.state = path / "state.json"  # the last heartbeat: see `heartbeat`
        self.checkpoints = path / "checkpoint.pt", path / "checkpoint.previous.pt"
        self.sums = path / "checkpoint.json"  # of the checkpoints, each written before its file

    @property
    def key(self) -> str:
        """The cell's key."""
        return self.path.name

    def lock(self) -> filelock.FileLock:
        """Held by whoever computes the cell; the kernel releases it when its holder dies."""
        return filelock.FileLock(self.path / ".lock")

    def held(self) -> bool:
        """Whether a process of this machine computes the cell."""
        if not (self.path / ".lock").exists():
            return False
        try:
            with self.lock().acquire(timeout=0):
                return False
        except filelock.Timeout:
            return True

    def append(self, step: int, images: int, metrics: dict[str, float]) -> None:
        """One line of metrics."""
        line = {"step": step, "images": images, "time": time.time(), "metrics": metrics}
        with self.metrics.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """The metrics in the order of their steps; of a step that was repeated after a resume, the last."""
        found: dict[tuple[int, str], dict[str, Any]] = {}
        with contextlib.suppress(OSError):
            for text in self.metrics.read_text().splitlines():
                # torn by a kill, or of another hand
                with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
                    line = json.loads(text)
                    kind = next(iter(line["metrics"]), "")  # losses, losses by level or an evaluation
                    found[line["step"], kind] = line
        return sorted(found.values(), key=lambda line: line["step"])

    def last(self) -> dict[str, Any] | None:
        """The newest line of training metrics, read from the end of the file; None before the first."""
        with contextlib.suppress(OSError, ValueError), self.metrics.open("rb") as file:
            file.seek(max(0, self.metrics.stat().st_size - 4096))
            for text in reversed(file.read().decode(errors="replace").splitlines()):
                if '"loss"' in text and text.endswith("}}"):
                    return dict(json.loads(text))
        return None

    def save(self, state: dict[str, Any]) -> None:
        """A checkpoint; the one before it is kept, should this one prove unreadable."""
        newest, previous = self.checkpoints
        with whole(newest) as temporary:
            torch.save(state, temporary)
            write_json(self.sums, [checksum(temporary), *(read_json(self.sums) or [])][:3])
            if newest.exists():
                os.replace(newest, previous)

    def load(self, device: str) -> dict[str, Any] | None:
        """The newest checkpoint that can be read, None where there is none."""
        known = read_json(self.sums) or []
        for path in (p for p in self.checkpoints if p.exists() and checksum(p) in known):
            with contextlib.suppress(Exception):  # of another version: the previous one is next
                return dict(torch.load(path, map_location=device, weights_only=True))
        return None

    def clear(self) -> None:
        """Remove what a training that was begun here left, but for its log."""
        self.forget_checkpoints()
        for path in (self.metrics, self.usage, self.model, self.state):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.samples, ignore_errors=True)

    def forget_checkpoints(self) -> None:
        """Remove what only an unfinished cell needs."""
        for path in (*self.checkpoints, self.sums):
            path.unlink(missing_ok=True)


class Store:
    """A directory of cells by key.

    Raises:
        SpecError: where the directory can not be made or written.
    """

    def __init__(self, runs: str | Path):
        self.path = Path(runs).resolve()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise SpecError(f"--runs-dir {runs}: {(error.strerror or str(error)).lower()}") from None

    @property
    def cache(self) -> Path:
        """Extractors and reference statistics."""
        path = self.path / "cache"
        path.mkdir(exist_ok=True)
        return path

    def folder(self, key: str) -> Folder:
        """The files of cell `key`; the directory may not exist yet."""
        return Folder(self.path / key)

    def record(self, key: str) -> dict[str, Any] | None:
        """The record of cell `key`, None while it has none."""
        record = read_json(self.path / key / "record.json")  # no Folder: a report asks by the thousand
        return record if isinstance(record, dict) and record.get("key") == key else None

    def prepare(self, cell: Cell) -> Folder:
        """Make the cell's folder and write what it is."""
        folder = self.folder(cell.key)
        folder.samples.mkdir(parents=True, exist_ok=True)
        if not folder.config.exists():
            write_json(folder.config, describe(cell))
        return folder

    def keys(self) -> list[str]:
        """The keys of all cells that have a folder."""
        return sorted(p.parent.name for p in self.path.glob("*/config.json"))


def describe(cell: Cell) -> dict[str, Any]:
    """A cell as plain data, from which `restore` makes it again."""
    return {
        "format": FORMAT,
        "key": cell.key,
        "specs": cell.recipe.specs(),
        "profile": cell.profile.model_dump(mode="json"),
        "seed": cell.seed,
        "fingerprint": cell.fingerprint,
        "imports": list(cell.imports),
    }


def restore(config: dict[str, Any], beside: Path | None = None) -> Cell:
    """The cell that `describe` wrote down; its imports are loaded."""
    load_plugins(config["imports"], beside)
    return assemble(config)


def assemble(config: dict[str, Any]) -> Cell:
    """The cell that `describe` wrote down, of options that are registered already."""
    profile = Profile.model_validate_json(json.dumps(config["profile"]), strict=True)
    recipe: Recipe = build(config["specs"])
    return Cell(
        config["key"], recipe, profile, config["seed"], config["fingerprint"], tuple(config["imports"])
    )
