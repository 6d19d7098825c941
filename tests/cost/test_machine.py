"""`doctor --machine`: a line for each finding, 1 if something would fail, and nothing written."""

from __future__ import annotations

import json
import socket
from importlib import metadata
from unittest import mock

import pytest
from helpers import cli

from ablate.cost import machine


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(machine, "rate", lambda device: "1 TFLOP/s measured")


def found(runs):
    return {line.what: line for line in machine.findings(runs)}


def test_the_command_needs_no_file_and_writes_nothing(tmp_path):
    done = cli.call("doctor", "--machine", "--json", cwd=tmp_path)
    lines = json.loads(done.stdout)
    assert done.returncode == (0 if all(line["ok"] for line in lines) else 1)
    assert {"GPU", "processor", "home", "bf16 on cpu"} <= {line["what"] for line in lines}
    assert not [*tmp_path.iterdir()]


def test_without_the_flag_a_file_is_needed(tmp_path):
    done = cli.call("doctor", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: FILE: needs an experiment file, or --machine\n")


def test_something_that_would_fail_gives_1(tmp_path, capsys):
    (tmp_path / "runs").write_text("")
    assert machine.command(tmp_path / "runs", as_json=False) == 1
    assert f"{tmp_path / 'runs'} is a file: FAILED" in capsys.readouterr().out


def test_folders_that_cannot_be_written_fail(tmp_path):
    with mock.patch("os.access", return_value=False):
        line = found(tmp_path / "made" / "later")[f"runs ({tmp_path / 'made' / 'later'})"]
    assert not line.ok
    assert f"you cannot write to {tmp_path}" in line.text


@pytest.mark.parametrize(
    ("check", "target", "error", "words"),
    [
        (
            "pair",
            "importlib.import_module",
            RuntimeError("operator nms\ndoes not exist"),
            "install both anew",
        ),
        (
            "installation",
            "importlib.metadata.version",
            metadata.PackageNotFoundError(),
            "missing: in your clone",
        ),
        ("home", "pathlib.Path.expanduser", RuntimeError("no home"), "HOME is not set"),
    ],
)
def test_what_is_wrong_with_the_installation_is_one_line(check, target, error, words):
    with mock.patch(target, side_effect=error):
        line = machine._line(check, getattr(machine, check))
    assert not line.ok
    assert words in line.text
    assert "\n" not in line.text


@pytest.mark.parametrize(
    ("folder", "writable", "ok", "words"),
    [
        ("", True, True, ""),
        ("none", True, True, "none does not exist; it can be made: "),
        ("none/below", True, True, "none/below does not exist; it can be made: "),
        ("none", False, False, "none does not exist and cannot be made: "),
        ("file", True, False, "file is a file"),
        ("file/below", True, False, "file/below does not exist and cannot be made: "),
    ],
)
def test_a_home_that_does_not_exist_is_said_to(tmp_path, monkeypatch, folder, writable, ok, words):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / folder))
    with mock.patch("os.access", return_value=writable):
        line = machine._line("home", machine.home)
    assert line.ok == ok
    assert f"{tmp_path}" in line.text
    assert words in line.text
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


def test_a_driver_that_torch_cannot_use_fails(monkeypatch, tmp_path):
    driver = tmp_path / "nvidiactl"
    driver.touch()
    monkeypatch.setattr(machine, "DRIVERS", (str(driver),))
    monkeypatch.setattr(machine, "devices", lambda: ["cpu"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(machine.Fails, match="torch finds no GPU"):
        machine.gpus()


def test_a_taken_port_has_the_next_free_one_beside_it(monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setattr(machine, "PORT", server.getsockname()[1])
        assert f"{machine.PORT} is taken: use `ablate ui --port " in machine.port()
