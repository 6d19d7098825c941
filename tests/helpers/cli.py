"""The command line: in this process, where imports are paid once, or as a process of its own."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import ablate.cli

Done = subprocess.CompletedProcess[str]


def call(*arguments: object, cwd: Path) -> Done:
    """`ablate ARGUMENTS` in the folder `cwd`, within this process; workers are processes all the same."""
    words, out, err = [str(a) for a in arguments], io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        mock.patch.object(sys, "argv", ["ablate", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            ablate.cli.main()
        except SystemExit as end:
            return subprocess.CompletedProcess(words, int(end.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("the command line always exits")


def command(*arguments: object) -> list[str]:
    """The words that start `ablate ARGUMENTS` as a process."""
    return [sys.executable, "-m", "ablate", *map(str, arguments)]


def launch(*arguments: object, cwd: Path) -> Done:
    """`ablate ARGUMENTS` in the folder `cwd`, as a process of its own."""
    return subprocess.run(command(*arguments), cwd=cwd, capture_output=True, text=True, check=False)


def wait_for(condition: Callable[[], object], seconds: float = 90.0) -> None:
    """Return as soon as the condition holds.

    Raises:
        TimeoutError: it does not hold within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing came within {seconds:g} s")
        time.sleep(0.02)


@contextlib.contextmanager
def once(condition: Callable[[], object], act: Callable[[], object]):
    """While the body runs, act once as soon as the condition holds; after the body, never."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            if condition():
                return act()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
