"""`ablate ui`: MLflow's pages on 127.0.0.1."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from ablate.core.errors import SpecError
from ablate.tracking import view
from ablate.tracking.backend import Backend
from ablate.tracking.tracker import environment, load_mlflow, reported


def command(backend: Backend, port: int) -> list[str]:
    """The command of MLflow's server on 127.0.0.1; one worker starts three times as fast and suffices for one user."""
    files = str(backend.artifacts)
    places = ["--default-artifact-root", backend.artifacts.as_uri(), "--artifacts-destination", files]
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", backend.uri, *places, *address]


def _places(backend: Backend, port: int) -> list[tuple[str, str]]:
    """Name of every experiment with cells, newest first, and the address of its runs."""
    client = load_mlflow().MlflowClient(backend.uri)
    experiments = client.search_experiments(order_by=["last_update_time DESC"])
    pages = f"http://127.0.0.1:{port}"
    named = [e for e in experiments if e.name != "Default"]
    return [(e.name, view.address(pages, e.experiment_id, view.TAG in e.tags)) for e in named]


def serve(runs: Path, uri: str | None, port: int) -> int:
    """Serve MLflow's pages on 127.0.0.1 until Ctrl-C or SIGTERM; returns the server's exit code, 0 after these.

    Raises:
        SpecError: the store is a server, which has its own pages.
    """
    backend = Backend(runs, uri)
    if backend.remote:
        raise SpecError(f"tracking: {backend} has its own pages: open it in a browser")
    with reported(f"MLflow at {backend}"), backend.lock():
        backend.create(load_mlflow())
        places = _places(backend, port)
    for name, place in places:
        print(f"{name}: {place}", flush=True)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    env = {**environment(), **os.environ}
    # A session of its own: Ctrl-C then reaches the server and its workers once, through killpg below.
    server = subprocess.Popen(command(backend, port), env=env, cwd=backend.home, start_new_session=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)
