"""Tracking servers that are down, hang, refuse or break: training continues, you are warned once, `sync` repairs it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

FILE = """
name: two
set: {network.width: 8, network.attention: []}
plan: [{grid: {metric.c: [0.01, 0.1]}}]
"""
BUDGET = ["profile.images=512", "profile.batch=16", "profile.evaluation.samples=64"]
EXPERIMENT = {
    "experiment_id": "1",
    "name": "two",
    "artifact_location": "/nowhere",
    "lifecycle_stage": "active",
}


@contextmanager
def server(behaviour):
    """The address of a server that treats every request as `behaviour` says; `down`: of none."""
    released, answered = threading.Event(), []

    class Handler(BaseHTTPRequestHandler):
        def treat(self):
            first = not answered
            answered.append(self.path)
            if behaviour == "hangs":
                released.wait(60)
            elif behaviour == "fails in the middle" and first:
                self.answer(200, {"experiment": EXPERIMENT})
            else:
                self.answer(
                    403 if behaviour == "refuses" else 500,
                    {"error_code": "PERMISSION_DENIED", "message": "no"},
                )

        do_GET = do_POST = treat

        def answer(self, code, content):
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads, http.block_on_close = True, False
        uri = f"http://127.0.0.1:{http.server_address[1]}"
        if behaviour == "down":
            http.server_close()
            yield uri
            return
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield uri
        assert answered
        released.set()
        http.shutdown()


def ablate(place, *arguments):
    sets = [part for pair in BUDGET for part in ("--set", pair)]
    command = [sys.executable, "-m", "ablate", arguments[0], "two.yaml", *sets, *arguments[1:]]
    environment = {**os.environ, "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", ["down", "hangs", "refuses", "fails in the middle"])
def test_a_bad_server_costs_one_line_and_sync_mends_it(behaviour, tmp_path):
    (tmp_path / "two.yaml").write_text(FILE)
    with server(behaviour) as uri:
        done = ablate(tmp_path, "run", "--no-doctor", "--tracking-uri", uri)
        again = ablate(tmp_path, "sync", "--tracking-uri", uri)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("MLflow is behind") == 1
    assert f"the next run brings it up to date: MLflow at {uri}" in done.stderr
    records = [json.loads(p.read_text())["state"] for p in (tmp_path / "runs").glob("*/record.json")]
    assert records == ["finished", "finished"]
    assert again.returncode == 1
    assert again.stderr.startswith(f"error: MLflow at {uri}")
    assert len(again.stderr.splitlines()) == 1
    mended = ablate(tmp_path, "sync")
    assert (mended.returncode, mended.stdout) == (0, "2 cells are up to date in MLflow\n")
    with closing(sqlite3.connect(tmp_path / "runs" / "mlflow.db")) as store:
        assert store.execute("select status, count(*) from runs group by 1").fetchall() == [("FINISHED", 3)]
