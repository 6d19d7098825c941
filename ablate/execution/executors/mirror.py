"""A cell's folder at an fsspec URL: for nodes that share no disk with the runs directory."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import fsspec

from ablate.core.errors import SpecError
from ablate.execution.executors.command import Command, run
from ablate.runs.record import NO_DISK
from ablate.runs.store import Folder

EVERY_S = 15.0  # between two looks at what changed
TRIES_S = (0.0, 2.0, 10.0)  # a store may be out of reach for a moment
LIVE = ("state.json", "metrics.jsonl", "usage.jsonl", "log.txt")  # what is followed while a cell runs


class Mirror:
    """One folder's copy at `url`/<the folder's name>.

    Files become whole there or not at all. Locks, temporary files and process ids stay where they are.
    """

    def __init__(self, url: str, folder: Path):
        self.folder = folder
        self.fs, root = fsspec.core.url_to_fs(url)
        self.root = f"{root.rstrip('/')}/{folder.name}"
        self.seen: dict[str, tuple[int, int]] = {}  # size and time of what is the same on both sides
        self.looked = time.monotonic()

    def there(self) -> list[str]:
        """Names of the files at the URL, in the order in which they may be copied."""
        self.fs.invalidate_cache()
        found = (str(PurePosixPath(path).relative_to(self.root)) for path in self.fs.find(self.root))
        return sorted(filter(_copied, found), key=_turn)

    def here(self) -> dict[str, tuple[int, int]]:
        """Names of the folder's files, in that order, with size and time."""
        found = {}
        for name in (p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # replaced or removed in this moment
                stat = (self.folder / name).stat()
                if _copied(name) and not (self.folder / name).is_dir():
                    found[name] = stat.st_size, stat.st_mtime_ns
        return dict(sorted(found.items(), key=lambda item: _turn(item[0])))

    def fetch(self, only: tuple[str, ...] | None = None) -> None:
        """Copy the files at the URL here, and forget the checkpoints that are no longer there."""
        names = self.there()
        for name in names if only is None else [n for n in names if n in only]:
            self.get(name)
        if only is None and names:
            for stale in self.folder.glob("checkpoint*"):
                if stale.name not in names:
                    stale.unlink()
            self.seen = {name: stat for name, stat in self.here().items() if name in names}

    def store(self) -> None:
        """Copy there what changed here since the last time, and remove there what vanished here."""
        now = self.here()
        for name in [n for n, stat in now.items() if self.seen.get(n) != stat]:
            with contextlib.suppress(FileNotFoundError):
                self.put(name)
        for name in self.seen.keys() - now.keys():
            self.fs.rm_file(f"{self.root}/{name}")
        self.seen = now

    def offer(self) -> None:
        """Let a node begin where the cell is: what is at the URL counts, the folder where there is nothing.

        A record of a failure is removed there, since the cell is wanted once more.
        """
        names = self.there()
        if "config.json" not in names:
            self.store()
        elif "record.json" in names:
            record = json.loads(self.fs.cat_file(f"{self.root}/record.json"))
            if record.get("state") == "failed":
                self.fs.rm_file(f"{self.root}/record.json")

    def refresh(self) -> None:
        """`store` once in a while; a store out of reach disturbs no training."""
        if time.monotonic() - self.looked > EVERY_S:
            with contextlib.suppress(Exception):  # every file system has its own errors
                self.store()
            self.looked = time.monotonic()

    def share(self) -> None:
        """Copy both ways what either side lacks: for files that never change, such as extractors."""
        self.folder.mkdir(exist_ok=True)
        here, there = set(self.here()), set(self.there())
        for name in there - here:
            self.get(name)
        for name in here - there:
            self.put(name)

    def get(self, name: str) -> None:
        """Copy one file here."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            self.fs.get_file(f"{self.root}/{name}", str(part))
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    def put(self, name: str) -> None:
        """Copy one file there."""
        target = PurePosixPath(self.root) / name
        self.fs.makedirs(str(target.parent), exist_ok=True)
        part = str(target.with_name(f".{target.name}.{uuid.uuid4().hex}"))
        self.fs.put_file(str(self.folder / name), part)
        self.fs.mv(part, str(target))


def check(url: str) -> None:
    """Write to the URL once.

    Raises:
        SpecError: it can not be written, or its file system is not installed.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            probe = Mirror(url, Path(folder))
            (probe.folder / "probe").write_text("")
            probe.store()
            probe.fs.rm(probe.root, recursive=True)
    except Exception as error:  # every file system has its own errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SpecError(f"mirror: {url!r}: it can not be written: {reason}") from None


def sure(action: Callable[[], None], url: str) -> str:
    """Do it, more than once if need be; why it could not be done, or nothing."""
    reason = ""
    for wait in TRIES_S:
        time.sleep(wait)
        try:
            action()
            return ""
        except Exception as error:  # every file system has its own errors
            reason = f"{url}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return reason


def mirrored(command: Command, url: str) -> tuple[int, str]:
    """Run a cell's command on a copy of its folder, which goes back to `url` as it changes; exit code and its reason.

    The copy is removed in the end, unless it could not be brought back.
    """
    scratch = Path(tempfile.mkdtemp(prefix="ablate-"))
    folder = scratch / Path(command.folder).name
    Folder(folder).samples.mkdir(parents=True)  # an empty folder is nothing at a URL
    mirror, cache = Mirror(url, folder), Mirror(url, scratch / "cache")
    if problem := sure(mirror.fetch, url) or sure(cache.share, url):
        shutil.rmtree(scratch)
        return NO_DISK, problem
    code = run(replace(command, folder=str(folder)), mirror.refresh)
    if problem := sure(mirror.store, url) or sure(cache.share, url):
        return NO_DISK, f"{problem}; the cell's files are in {scratch}"
    shutil.rmtree(scratch)
    return code, ""


def _copied(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not any(p.startswith(".") for p in parts) and parts[-1] != "pid" and not name.endswith(".lock")


def _turn(name: str) -> tuple[int, str]:
    """Checkpoints after what they are checked against; then what says that a folder is there, or done."""
    late = {"checkpoint.previous.pt": 1, "checkpoint.pt": 1, "config.json": 2, "record.json": 3}
    return late.get(name, 0), name
