"""A journal that a kill or a full disk left torn, and locks that nobody releases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import optuna
import pytest
from optuna.storages import JournalStorage

from ablate.study import journal
from ablate.study.journal import Journal, Lock, Snapshot


@pytest.fixture
def file(tmp_path):
    """A journal with three trials."""
    path = tmp_path / "some.journal"
    study = optuna.create_study(storage=JournalStorage(Journal(path)), study_name="some")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    return path


def load(backend):
    return optuna.load_study(study_name="some", storage=JournalStorage(backend))


def trials(backend):
    return load(backend).get_trials()


MERGED = b'{"op_code":2,"worker_id":"a","study_id":0,"user_attr":{"later":1}}\n'


@pytest.mark.parametrize(
    ("damage", "complete", "later"),
    [
        (lambda content: content[:-20], 2, False),
        (lambda content: content[:-1], 3, False),  # all but the line's end
        (lambda content: content + b"\0" * 4096, 3, False),  # a power cut
        (lambda content: content + b'{"op_code":4,"wor', 3, False),
        (lambda content: content + b"\xff\xfe{", 3, False),
        (lambda content: content + b'{"op_code":4,"wor' + MERGED, 3, True),
        (lambda content: content + b'{"op_code":4,"wor' + MERGED + MERGED, 3, True),
        (lambda content: content + b"\n\n" + MERGED, 3, True),
    ],
)
def test_a_torn_journal_mends_itself_and_says_so_once(file, capsys, damage, complete, later):
    torn = damage(file.read_bytes())
    file.write_bytes(torn)
    for backend in (Snapshot, Journal):
        found = load(backend(file))
        assert sum(t.state.name == "COMPLETE" for t in found.get_trials()) == complete
        assert ("later" in found.user_attrs) == later
        said = capsys.readouterr().err.splitlines()
        assert (file.read_bytes() == torn) == (backend is Snapshot) == (not said)
    assert len(said) == 1
    assert "some.journal: half a line" in said[0]
    trials(Journal(file))
    assert capsys.readouterr().err == ""


def test_a_line_torn_while_another_process_writes_is_removed_before_the_next(file, capsys):
    study = load(Journal(file))
    with file.open("ab") as torn:
        torn.write(b'{"op_code":4,"stu')  # that process is killed here
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert len(trials(Snapshot(file))) == 4
    assert capsys.readouterr().err.count("half a line") == 1


def _ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _host():
    return journal.owner()[0]


@pytest.mark.parametrize(
    "holder",
    [
        lambda file: "x",  # leads nowhere
        lambda file: str(file),  # as Optuna makes it
        lambda file: json.dumps([_host(), "another boot", 1, 0.0, "id"]),
        lambda file: json.dumps([*journal.owner()[:2], _ended_process(), 1.0, "id"]),
        lambda file: json.dumps(["another machine", "boot", 1, 0.0, "id"]),
        lambda file: "[1, 2]",
    ],
)
def test_a_lock_that_nobody_holds_is_taken_over(file, capsys, monkeypatch, holder):
    monkeypatch.setattr(journal, "GRACE_S", 0.3)
    os.symlink(holder(file), f"{file}.lock")
    busy, started = time.process_time(), time.monotonic()
    lock = Lock(file)
    lock.acquire()
    assert time.process_time() - busy < 0.2 + (time.monotonic() - started) / 2  # it sleeps
    lock.release()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "some.journal.lock: removed: " in said[0]
    assert sorted(p.name for p in file.parent.iterdir()) == [file.name]


def test_what_is_no_link_is_taken_over_as_well(file, monkeypatch):
    monkeypatch.setattr(journal, "GRACE_S", 0.1)
    (file.parent / "some.journal.lock").touch()
    assert len(trials(Journal(file))) == 3


def test_a_living_holder_is_waited_for_and_a_lock_taken_over_stays(file, capsys):
    first, second = Lock(file), Lock(file)
    first.acquire()
    first.path.unlink()
    second.acquire()  # as after a takeover
    first.release()
    assert second.path.is_symlink()
    second.release()
    assert not second.path.is_symlink()
    assert capsys.readouterr().err == ""
