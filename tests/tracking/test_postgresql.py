"""A study on a real PostgreSQL server, shared by two processes that start cold."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from helpers.instant_cells import FILE, share

from ablate.study import search as studies
from ablate.study.trials import counted

pytest.importorskip("psycopg2", reason="psycopg2 is missing: pip install 'ablate-ct[postgresql]'")
SERVER = shutil.which("postgres") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/postgres")), None)


def user():
    """Who may run the server: it refuses root."""
    if os.geteuid():
        return pwd.getpwuid(os.geteuid())
    return next((u for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody")), None)


@pytest.fixture(scope="module")
def url():
    if SERVER is None or user() is None:
        pytest.skip("no PostgreSQL server, or only root who may not run it: apt-get install postgresql")
    programs, owner = Path(SERVER).resolve().parent, user()
    home = Path(tempfile.mkdtemp(prefix="ablate-pg-"))
    os.chown(home, owner.pw_uid, owner.pw_gid)
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]

    def call(program, *arguments):
        who = {} if os.geteuid() else {"user": owner.pw_uid, "group": owner.pw_gid}
        command = [str(programs / program), "-D", str(home / "data"), *arguments]
        subprocess.run(command, check=True, cwd=home, capture_output=program == "initdb", **who)

    call("initdb", "-U", "ablate", "-A", "trust", "--no-sync")
    options = f"-h 127.0.0.1 -p {port} -k {home} -c fsync=off"
    call("pg_ctl", "-w", "-s", "-l", str(home / "log"), "-o", options, "start")
    yield f"postgresql+psycopg2://ablate@127.0.0.1:{port}/postgres"
    call("pg_ctl", "-w", "-s", "-m", "immediate", "stop")
    shutil.rmtree(home)


@pytest.mark.slow
def test_two_processes_share_the_trials(url, tmp_path):
    (tmp_path / "some.yaml").write_text(FILE)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(share, [(tmp_path, url)] * 2)
    study = studies.open_study(studies.load(tmp_path / "some.yaml"), tmp_path / "runs", url)
    ended = counted(study.get_trials())
    assert 12 <= len(ended) <= 13  # both may begin the last one in the same moment
    assert len(set(found[0]) | set(found[1])) == len(found[0]) + len(found[1])
    assert all(t.state.name == "COMPLETE" for t in ended)
    assert share(tmp_path, url) == []
