"""Where Python looks for modules: your folders come last, so that a `random.py` or `torch.py` there hides no other."""

from __future__ import annotations

import os
import sys
from pathlib import Path

LAST = "ABLATE_PATH"  # tells a worker which folders come last


def append(folder: str) -> None:
    """Look in a folder after all others."""
    if folder not in sys.path:
        sys.path.append(folder)


def yours_last() -> None:
    """Move the current folder, which Python puts first, behind the installed packages, also in processes to come."""
    try:
        here = os.getcwd()
    except FileNotFoundError:  # the command line reports it
        return
    if here == str(Path(__file__).parents[2]):  # a checkout that you run in place is found there only
        return
    os.environ["PYTHONSAFEPATH"] = "1"
    sys.path[:] = [folder for folder in sys.path if folder not in ("", here)]
    for folder in (*os.environ.get(LAST, "").split(os.pathsep), here):
        if folder:
            append(folder)


def environment() -> dict[str, str]:
    """The variables with which another Python of this installation looks in the same folders in the same order."""
    own = (sys.prefix, sys.base_prefix)
    first = next((i for i, folder in enumerate(sys.path) if folder.startswith(own)), 0)
    yours = [(i, folder) for i, folder in enumerate(sys.path) if folder and not folder.startswith(own)]
    return {
        "PYTHONPATH": os.pathsep.join(folder for i, folder in yours if i < first),
        LAST: os.pathsep.join(folder for i, folder in yours if i > first),
    }
