"""Your own code may end the process that runs it: these functions say which file did."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from ablate.core.code import yours

PACKAGE = Path(__file__).parents[1]
FATAL = re.compile(r"Fatal Python error: (.*)")
FRAME = re.compile(r'^  File "(.*)", line (\d+) in ', re.MULTILINE)


def _first_of_yours(frames: Iterable[tuple[str, int | None]]) -> str:
    """FILE:LINE of the first frame that is no library's; empty if that is this package's or there is none."""
    for name, line in frames:
        file = Path(name)
        if file == Path(__file__) or not yours(file):
            continue
        return "" if file.is_relative_to(PACKAGE) else f"{file}:{line}"
    return ""


def raised_by(error: BaseException) -> str:
    """FILE:LINE of your code that raised an exception, itself or in a library; empty if none of yours did."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return _first_of_yours((frame.filename, frame.lineno) for frame in frames)


def described(error: BaseException) -> str:
    """An exception of your code in one line."""
    if isinstance(error, SystemExit):
        said = " ".join(str(error.code).split()) if isinstance(error.code, str) else ""
        return f"it ended the process{': ' + said if said else f' with exit code {error.code or 0}'}"
    return " ".join(f"{type(error).__name__}: {error}".split())[:500].removesuffix(": ")


def crash(text: str) -> str:
    """What Python's fault handler wrote, in one line: your file, if the crash is its, and the signal; else empty."""
    fatal = [*FATAL.finditer(text)]
    if not fatal:
        return ""
    last = fatal[-1]
    frames = FRAME.findall(text[last.end() :])
    place = _first_of_yours((file, int(line)) for file, line in frames)
    at = place or (f"{frames[0][0]}:{frames[0][1]}" if frames else "a library")
    return f"{at}: it ended the process: {last[1].lower()}"


@contextlib.contextmanager
def exits_raise() -> Iterator[None]:
    """A block in which `os._exit` raises SystemExit, as `sys.exit` does, so that your code ends nothing silently."""
    leave, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        elsewhere = threading.current_thread() is not threading.main_thread()
        if (
            elsewhere or os.getpid() != process
        ):  # a thread that ends all, or a process that was forked meanwhile
            leave(status)
        raise SystemExit(status)

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave
