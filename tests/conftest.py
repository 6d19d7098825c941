"""Every test runs with one thread, away from the user's files, and without a network."""

from __future__ import annotations

import collections
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from filelock import FileLock

torch.set_num_threads(1)
# a shell starts what runs in the background with Ctrl-C ignored, and what the tests start would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _same_seed() -> None:
    torch.manual_seed(0)


def _shared(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of all processes of the test run."""
    root = factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root


@pytest.fixture(scope="session", autouse=True)
def _own_caches(tmp_path_factory) -> Iterator[None]:
    """What a command counts, or reads of images, is kept for other tests, away from the user's folder."""
    from ablate.cost import kept
    from ablate.data import survey

    place = _shared(tmp_path_factory) / "caches"
    counts = mock.patch.object(kept, "CACHE", str(place / "counts"))
    headers = mock.patch.object(survey, "CACHE", str(place / "headers"))
    with counts, headers:
        yield


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one process of the test run makes and all of them read."""
    root = _shared(factory)
    folder, begun = root / name, root / f"{name}.begun"
    with FileLock(root / f"{name}.lock"):
        if not folder.exists():
            begun.mkdir(exist_ok=True)
            make(begun)
            begun.rename(folder)
    return folder


@pytest.fixture(scope="session")
def digits():
    """The 1,797 digits."""
    from ablate.config.profile import Data
    from ablate.data import datasets

    return datasets.load(Data(name="digits"))


@pytest.fixture(scope="session")
def extractor_cache(tmp_path_factory, digits) -> Path:
    """A cache that holds the extractor of the digits, which takes seconds to train. Copy it where you write."""
    from ablate.evaluation import classifier

    return _made_once(tmp_path_factory, "extractor", lambda folder: classifier.train(digits, folder))


@pytest.fixture(scope="session")
def mlflow_db(tmp_path_factory) -> Path:
    """An empty MLflow store, which takes seconds to create. Copy it where you write."""
    from ablate.tracking import tracker
    from ablate.tracking.backend import Backend

    return (
        _made_once(tmp_path_factory, "mlflow", lambda folder: Backend(folder).create(tracker.load_mlflow()))
        / "mlflow.db"
    )


@pytest.fixture(scope="module")
def two_figures() -> Iterator[None]:
    """Reports have the curves and samples alone: drawing the other figures takes a second a report."""
    from ablate.report import figure

    every = figure.figures
    two = ("curves.png", "samples.png")
    with mock.patch.object(figure, "figures", side_effect=lambda: [f for f in every() if f.FILE in two]):
        yield


@pytest.fixture(scope="session")
def warmed(extractor_cache, mlflow_db) -> Callable[[Path], Path]:
    """Gives a folder a runs directory that holds the extractor and an MLflow store; returns the folder."""

    def warm(place: Path) -> Path:
        shutil.copytree(extractor_cache, place / "runs" / "cache")
        shutil.copy(mlflow_db, place / "runs")
        return place

    return warm


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped and why, a line for each reason; the reason names what to install."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = collections.Counter(str(r.longrepr[2]).removeprefix("Skipped: ") for r in reports)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped {count}: {reason}")
