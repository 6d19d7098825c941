"""`verify` computes the cells that a cell needs first, each once."""

from __future__ import annotations

from ablate.config.profile import Data
from ablate.planning import planner
from ablate.runs import verify, worker
from ablate.runs.store import Store, describe

FILE = """
name: made
profile: digits
seeds: [0]
plan: [{list: [{label: tcm, base: tcm}, {label: tuned, base: ect_tuned}]}]
"""


def test_needed_cells_come_first_and_once(tmp_path, monkeypatch):
    file = tmp_path / "made.yaml"
    file.write_text(FILE)
    experiment = planner.load(file)
    computed = []

    def compute(cell, folder, device):
        assert all(need.key in computed for need in cell.needs.values())
        computed.append(cell.key)
        return {"key": cell.key, "state": "finished", "fid": []}

    monkeypatch.setattr(worker, "compute", compute)
    store = Store.writable(tmp_path / "runs")
    recorded = {"state": "finished", "fid": []}
    for key, cell in experiment.cells.items():
        found = verify.again(describe(cell), recorded | {"key": key}, store, Data(name="digits"))
        assert found.state == verify.EQUAL
    assert set(computed) == set(experiment.all_cells)
    assert len(computed) == len(set(computed)) == 5
