from __future__ import annotations

import json

import pytest
import torch

from ablate.core.errors import SpecError
from ablate.core.files import atomic_write, write_json
from ablate.planning import planner
from ablate.runs.store import Store, describe, restore


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


def test_a_torn_line_of_metrics_is_passed_over_and_a_repeated_step_counts_once(cell, tmp_path):
    folder = Store(tmp_path / "runs").prepare(cell)
    folder.append(1, 8, {"loss": 3.0})
    folder.append(2, 16, {"loss": 2.0})
    folder.append(2, 16, {"loss": 2.0})
    with folder.metrics.open("a") as file:
        file.write('{}\n[]\n{"step": 3}\n{"step": 3, "ima')
    assert [line["step"] for line in folder.lines()] == [1, 2]
    assert folder.last()["metrics"]["loss"] == 2.0


def test_a_record_of_another_cell_or_half_a_record_is_none(cell, tmp_path):
    store = Store(tmp_path / "runs")
    folder = store.prepare(cell)
    assert store.record(cell.key) is None
    folder.record.write_text('{"key": "other"}')
    assert store.record(cell.key) is None
    folder.record.write_text('{"key": ')
    assert store.record(cell.key) is None
    write_json(folder.record, {"key": cell.key})
    assert store.record(cell.key) == {"key": cell.key}


def test_a_directory_that_can_not_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="--runs-dir"):
        Store(tmp_path / "file" / "runs")


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
