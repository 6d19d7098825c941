"""Imports go one way, and each outside library is imported in one place."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ablate"
FLOORS = [
    ("registry", "lazy", "documents", "rng", "machine", "usage"),
    ("ingredients", "networks", "recipe", "denoiser", "loss", "sampler", "profile", "perceptual"),
    (
        "data",
        "archive",
        "classifier",
        "extractor",
        "evaluate",
        "flat",
        "parallel",
        "train",
        "diagnostics",
        "distortions",
        "editing",
    ),
    ("claims", "experiment", "rows", "plan", "store", "record", "heartbeat", "exchange"),
    ("assessment", "training", "cell", "model", "doctor", "export"),
    (
        "executors",
        "tracking",
        "live",
        "progress",
        "crew",
        "resources",
        "runner",
        "report",
        "midpoint",
        "tasks",
    ),
    ("study", "catalogue", "status", "evidence", "sources"),
    ("stopwatch", "cost", "bench", "agreement", "summary", "schema", "notebook"),
    ("cli", "__main__"),
]
HEIGHT = {name: floor for floor, names in enumerate(FLOORS) for name in names}
ONE_PLACE = {
    "mlflow": "tracking",
    "yaml": "documents",
    "torch_fidelity": "extractor",
    "optuna": "study",
    "ray": "executors",
    "submitit": "executors",
    "fsspec": "executors",
}
FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


def imported(file: Path) -> set[str]:
    """Full names of all that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def owner(name: str) -> str | None:
    """The module of ours that a full name belongs to, None for what is not ours."""
    parts = name.split(".")
    return parts[1] if parts[0] == "ablate" and len(parts) > 1 else None


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_import_climbs(file):
    here = file.relative_to(PACKAGE).with_suffix("").parts[0]
    assert here in HEIGHT, f"{here} stands on no floor"
    climbing = {name for name in imported(file) if (o := owner(name)) in HEIGHT and HEIGHT[o] > HEIGHT[here]}
    assert not climbing


@pytest.mark.parametrize(("library", "module"), ONE_PLACE.items())
def test_a_library_is_imported_in_one_place(library, module):
    users = {
        f.relative_to(PACKAGE).with_suffix("").parts[0]
        for f in FILES
        if any(n.split(".")[0] == library for n in imported(f))
    }
    assert users <= {module}


def test_the_package_and_its_plans_import_no_torch():
    heavy = "import ablate, ablate.cli, ablate.catalogue, ablate.plan, ablate.runner, ablate.live, ablate.report, sys;"
    code = heavy + "print(*sorted({'torch','mlflow','pandas','matplotlib','sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_files_stay_small(file):
    assert len(file.read_text().splitlines()) <= 330
