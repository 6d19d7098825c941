"""The package's folders import downwards only, without circles; each outside library has one home."""

from __future__ import annotations

import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from helpers import layers

ROOT = layers.PACKAGE.parent
FILES = sorted(layers.PACKAGE.rglob("*.py"))
TESTED_APART = {"fuzz", "helpers"}


def test_no_import_climbs():
    place = {name: i for i, name in enumerate(layers.LAYERS)}
    climbing = [
        f"{module} imports {other}"
        for module, others in layers.graph().items()
        for other in others
        if (a := layers.folder(module)) and (b := layers.folder(other)) and place[b] > place[a]
    ]
    assert not climbing


def test_nothing_in_a_layer_imports_the_package_itself():
    above = {"ablate.api", "ablate.__main__"}
    assert not [m for m, others in layers.graph().items() if layers.folder(m) and others & above]


def test_no_module_imports_itself_by_way_of_others():
    TopologicalSorter(layers.graph()).prepare()  # raises CycleError


def test_what_decides_compute_draws_nothing():
    assert not {
        m for m in layers.graph() if layers.folder(m) in ("planning", "runs", "analysis", "execution")
    } & {m for m, others in layers.graph().items() if any(layers.folder(o) == "report" for o in others)}


def test_the_root_holds_three_modules_and_the_layers():
    assert {p.stem for p in layers.PACKAGE.glob("*.py")} == {"__init__", "__main__", "api"}
    folders = {p.name for p in layers.PACKAGE.iterdir() if (p / "__init__.py").exists()}
    assert folders == set(layers.LAYERS)


def test_folders_are_two_levels_deep_at_most():
    assert max(len(f.relative_to(layers.PACKAGE).parts) for f in FILES) <= 3


def test_contributing_shows_the_layers():
    assert layers.tree() in (ROOT / "CONTRIBUTING.md").read_text()


def test_tests_mirror_the_layers():
    folders = {p.name for p in (ROOT / "tests").iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert folders - TESTED_APART == set(layers.LAYERS)


@pytest.mark.parametrize(("library", "home"), layers.OUTSIDE.items())
def test_a_library_is_imported_in_one_folder(library, home):
    users = {f for f in FILES if any(n.split(".")[0] == library for n in layers.imported(f))}
    assert {f.relative_to(layers.PACKAGE).parts[0] for f in users} <= {home}


def test_the_package_and_its_plans_import_no_torch():
    heavy = "ablate.cli, ablate.cli.listings, ablate.planning.planner, ablate.execution.runner, ablate.tracking.live"
    heavy += ", ablate.execution.resources, ablate.cli.costs, ablate.doctor.gate"  # what a dry run needs
    code = f"import ablate, {heavy}, ablate.report.writer, sys; "
    code += "print(*sorted({'torch','mlflow','pandas','matplotlib','sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(Path(f).relative_to(layers.PACKAGE)))
def test_files_stay_small(file):
    assert len(file.read_text().splitlines()) <= 330
