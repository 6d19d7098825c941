"""Which process runs a trial or holds a lock, and whether it has ended."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

import psutil

from ablate.runs.heartbeat import boot


def owner() -> list[Any]:
    """This process: host, boot id, process id, start time."""
    return [socket.gethostname(), boot(), os.getpid(), psutil.Process().create_time()]


def ended(process: Sequence[Any]) -> bool | None:
    """Whether the process that `owner` named has ended; None if it is on another machine."""
    host, started, pid, born = process
    if host != socket.gethostname():
        return None
    try:
        return bool(started != boot() or abs(psutil.Process(pid).create_time() - born) > 1)
    except psutil.NoSuchProcess:
        return True
