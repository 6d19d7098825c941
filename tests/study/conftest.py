"""Studies here wait for nothing: cells end at once, and what is written need not survive a power cut."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("ablate.study.search.POLL_S", 0.0)
    monkeypatch.setattr("ablate.execution.runner.POLL_S", 0.0)
    monkeypatch.setattr("ablate.study.trials.REPORT_S", 0.0)
    monkeypatch.setattr("os.fsync", lambda file: None)
