"""What a worker uses of the machine is written beside its metrics and decides nothing."""

from __future__ import annotations

import json
import time

from ablate.core.usage import Usage
from ablate.runs import heartbeat
from ablate.runs.heartbeat import Heartbeat
from ablate.runs.store import Store

CPU, MEMORY = "system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"


def test_a_busy_process_is_seen_as_busy():
    usage, began = Usage(), time.process_time()
    while time.process_time() - began < 0.2:
        pass
    found = usage.measure()
    assert found[CPU] > 0
    assert 1 < found[MEMORY] < 1e6


def test_a_long_training_is_looked_at_by_the_minute_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.01)
    monkeypatch.setattr(heartbeat, "DENSE", 3)
    folder = Store(tmp_path).folder("ab12")
    folder.path.mkdir()
    with Heartbeat(folder):
        time.sleep(0.3)
    assert len(folder.usage.read_text().splitlines()) <= 4  # and one at the end


def test_a_worker_that_resumes_counts_on(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.05)
    folder = Store(tmp_path).folder("ab12")
    folder.path.mkdir()
    for _ in range(2):
        with Heartbeat(folder):
            time.sleep(0.12)
    lines = [json.loads(line) for line in folder.usage.read_text().splitlines()]
    assert [line["look"] for line in lines] == list(range(len(lines)))
    assert len(lines) >= 2  # each at its end
    assert all({CPU, MEMORY} <= line["metrics"].keys() for line in lines)
