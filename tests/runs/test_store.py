from __future__ import annotations

import errno
import json
import pickle
from dataclasses import replace
from unittest import mock

import pytest
import torch

from ablate.config.profile import Profile
from ablate.core.errors import SpecError
from ablate.core.files import atomic_write, write_json
from ablate.planning import planner
from ablate.planning.cells import Cell
from ablate.runs.store import Store, complete, describe, restore


@pytest.fixture
def cell(tmp_path):
    (tmp_path / "one.yaml").write_text("name: one\nplan: [{list: [{label: a, set: {metric.c: 0.25}}]}]\n")
    return next(iter(planner.load(tmp_path / "one.yaml").cells.values()))


def test_a_cell_comes_back_from_its_description(cell, tmp_path):
    folder = Store(tmp_path / "runs").prepare(cell)
    assert restore(json.loads(folder.config.read_text())) == cell
    assert describe(cell)["specs"]["metric"]["c"] == 0.25


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def torn():
        with atomic_write(path) as temporary:
            temporary.write_text("{")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        torn()
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_is_not_finite_never_reaches_a_record(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"fid": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_a_torn_checkpoint_falls_back_to_the_one_before(cell, tmp_path):
    folder = Store(tmp_path / "runs").prepare(cell)
    assert folder.load("cpu") is None
    folder.save({"k": torch.tensor(1)})
    folder.save({"k": torch.tensor(2)})
    assert folder.load("cpu") == {"k": torch.tensor(2)}
    newest = folder.checkpoints[0]
    newest.write_bytes(newest.read_bytes()[:100])
    assert folder.load("cpu") == {"k": torch.tensor(1)}


def test_a_checkpoint_that_the_machine_cannot_load_is_no_reason_to_start_anew(
    cell, tmp_path, monkeypatch, capsys
):
    folder = Store(tmp_path / "runs").prepare(cell)
    folder.save({"k": torch.tensor(1)})
    folder.save({"k": torch.tensor(2)})
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        OSError(errno.EIO, "Input/output error"),
        RuntimeError("CUDA error: unspecified launch failure"),
    ):
        with mock.patch.object(torch, "load", side_effect=error), pytest.raises(type(error)):
            folder.load("cpu")
    loads = mock.Mock(side_effect=[pickle.UnpicklingError("Unsupported global"), {"k": 1}])
    monkeypatch.setattr(torch, "load", loads)
    assert folder.load("cpu") == {"k": 1}
    assert (
        capsys.readouterr().out == f"{folder.checkpoints[0]}: not used: UnpicklingError: Unsupported global\n"
    )


def test_a_torn_line_of_metrics_is_passed_over_and_a_repeated_step_counts_once(cell, tmp_path):
    folder = Store(tmp_path / "runs").prepare(cell)
    folder.append(1, 8, {"loss": 3.0})
    folder.append(2, 16, {"loss": 2.0})
    folder.append(2, 16, {"loss": 2.0})
    with folder.metrics.open("a") as file:
        file.write('{}\n[]\n{"step": 3}\n{"step": 3, "ima')
    assert [line["step"] for line in folder.lines()] == [1, 2]
    assert folder.last()["metrics"]["loss"] == 2.0


@pytest.mark.parametrize("left", [b"", b'{"key": ', b"[]", b"null", b'{"key": "other"}', b"\xff\xfe\0"])
def test_a_record_that_cannot_be_read_is_none(cell, tmp_path, left):
    store = Store(tmp_path / "runs")
    folder = store.prepare(cell)
    assert (store.record(cell.key), folder.recorded) == (None, False)
    folder.record.write_bytes(left)
    assert (store.record(cell.key), folder.recorded) == (None, False)
    folder.config.unlink()
    assert store.prepare(cell).config.exists()
    write_json(folder.record, {"key": cell.key})
    assert (store.record(cell.key), folder.recorded) == ({"key": cell.key}, True)


def test_a_directory_that_can_not_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="--runs-dir"):
        Store.writable(tmp_path / "file" / "runs")


def test_a_store_that_is_read_is_not_made(tmp_path):
    store = Store(tmp_path / "runs")
    assert (store.keys(), store.record("a"), store.folder("a").held()) == ([], None, False)
    assert not store.path.exists()
    assert Store.writable(store.path).path.is_dir()


def test_who_computes_a_cell_is_seen_without_a_trace(cell, tmp_path):
    folder = Store(tmp_path / "runs").prepare(cell)
    assert not folder.held()
    assert not (folder.path / ".lock").exists()
    with folder.lock().acquire():
        assert folder.held()
        before = (folder.path / ".lock").stat().st_mtime_ns
        assert folder.held()
    assert not folder.held()
    assert (folder.path / ".lock").stat().st_mtime_ns == before


NOT_IN_THE_KEY = {
    "threads": 3,
    "compile": True,
    "log_every": 7,
    "checkpoint_every": 64,
    "evaluation.every": 320,
    "evaluation.batch": 8,
    "evaluation.grid": 4,
    "data.path": "elsewhere.zip",
    "name": "other",
}


@pytest.mark.parametrize("field", NOT_IN_THE_KEY)
def test_what_is_not_in_the_key_is_that_of_the_newest_command(cell, tmp_path, field):
    store, value = Store(tmp_path / "runs"), NOT_IN_THE_KEY[field]
    store.prepare(cell)
    complete(store.folder(cell.key), cell, (1, 8, 8))
    *parents, last = field.split(".")
    plain = cell.profile.model_dump(mode="json")
    (plain[parents[0]] if parents else plain)[last] = value
    changed = Cell.of(
        cell.recipe, Profile.model_validate_json(json.dumps(plain)), cell.seed, cell.fingerprint
    )
    assert changed.key == cell.key
    config = json.loads(store.prepare(changed).config.read_text())
    assert restore(config).profile == changed.profile
    assert config["image_shape"] == [1, 8, 8]


def test_the_config_of_a_cell_that_has_ended_or_runs_stays(cell, tmp_path):
    store = Store(tmp_path / "runs")
    folder = store.prepare(cell)
    before = folder.config.read_bytes()
    changed = replace(cell, profile=cell.profile.model_copy(update={"log_every": 7}))
    with folder.lock().acquire():
        store.prepare(changed)
    assert folder.config.read_bytes() == before
    write_json(folder.record, {"key": cell.key})
    assert store.prepare(changed).config.read_bytes() == before


def test_an_altered_checkpoint_is_known_by_its_checksum(cell, tmp_path):
    """One flipped byte in the middle, which torch itself would load."""
    folder = Store(tmp_path / "runs").prepare(cell)
    folder.save({"k": torch.arange(1000)})
    folder.save({"k": torch.arange(1000) + 1})
    newest = folder.checkpoints[0]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert torch.equal(folder.load("cpu")["k"], torch.arange(1000))
