"""Commands: options, messages, exit codes."""

from __future__ import annotations

import faulthandler
import os
import sys
from typing import NoReturn

import typer

from ablate.cli import (
    bench,
    catalogue,
    convert,
    doctor,
    evaluate,
    extractor,
    mlflow,
    models,
    report,
    run,
    runs,
    status,
    study,
    verify,
)
from ablate.config import recipe as recipes
from ablate.core import crashes
from ablate.core.errors import SpecError

BUGS = (RecursionError, NotImplementedError)  # the RuntimeErrors that no machine causes

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Ablations of consistency training: you write an experiment file, you get tables.",
)
for group in (
    run,
    report,
    status,
    study,
    runs,
    evaluate,
    verify,
    doctor,
    catalogue,
    models,
    convert,
    mlflow,
    bench,
    extractor,
):
    app.add_typer(group.app)


def main() -> NoReturn:
    """Run the command line.

    A user's mistake is one line each on stderr and exit code 2, also where code of theirs raises or ends the process; a
    failure of the machine is one line and exit code 1. Only a bug of this package is a traceback; `python -X dev -m
    ablate` shows every traceback.
    """
    _open_streams()
    os.environ["MPLBACKEND"] = "Agg"  # figures are files, and this Python may not have a notebook's backend
    if not faulthandler.is_enabled() and sys.__stderr__:
        faulthandler.enable(sys.__stderr__, all_threads=False)  # a crash shows which file it was in
    with crashes.exits_raise():
        code = _code()
    try:
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # `ablate list | head` has read all that it wants
            code = _failed(f"standard output: {_line(error)}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python would try once more at its end
    sys.exit(code)


def _code() -> str | int | None:
    """Run the command; its exit code."""
    try:
        os.getcwd()
    except OSError:
        return _failed("the current folder was deleted")
    try:
        recipes.load_plugins()
        app()
    except SystemExit as end:
        return _ended_by_yours(end) or end.code
    except SpecError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        machine = isinstance(error, (OSError, MemoryError))
        if sys.flags.dev_mode:
            raise
        if not machine and (code := _ended_by_yours(error)):
            return code
        if not machine and (not isinstance(error, RuntimeError) or isinstance(error, BUGS)):
            raise
        return _failed(_line(error))
    return 0


def _ended_by_yours(error: BaseException) -> int:
    """Report in one line that code of the user's raised this; the exit code, 0 if no code of theirs did."""
    if not (place := crashes.raised_by(error)):
        return 0
    print(f"error: {place}: {crashes.described(error)}", file=sys.stderr)
    return 2


def _open_streams() -> None:
    """Give a process that was started with closed streams streams to nowhere, and let no character end a command.

    Otherwise the next file that is opened would become standard output, and get what libraries and workers print.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _failed(line: str) -> int:
    print(f"error: {line}", file=sys.stderr)
    return 1


def _line(error: BaseException) -> str:
    """A failure of the machine in one line: the file that it is about, and the reason."""
    if isinstance(error, OSError) and error.strerror:
        return ": ".join([*([str(error.filename)] if error.filename else []), error.strerror.lower()])
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".removesuffix(": ")
