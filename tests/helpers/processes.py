"""Which processes of a run train."""

from __future__ import annotations

import psutil


def workers(pid):
    """The descendants of process `pid` that hold the log of a cell."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            files = [f.path for f in child.open_files()]
        except psutil.Error:
            continue
        if any(path.endswith("log.txt") and "/runs/" in path for path in files):
            found.append(child)
    return found
