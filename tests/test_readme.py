"""Every command and snippet of the README, word for word but for the budget."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
CLAIMS = (ROOT / "docs" / "claims.md").read_text()
OPTIONS = (ROOT / "docs" / "options.md").read_text()
PAGES = TEXT + (ROOT / "docs" / "scale.md").read_text() + CLAIMS
SMALL = "--set profile.images=160 --set profile.batch=16 --set profile.evaluation.samples=32 --seeds 0"


def blocks(language: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("bash", PAGES) for line in block.splitlines()]
    return [line for line in lines if line] + re.findall(r"`(\.venv/bin/python -m ablate [^`]*)`", TEXT)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What a clone has, without its environment and results."""
    place = tmp_path_factory.mktemp("clone")
    for name in ("experiments", "Makefile", "pyproject.toml", "constraints.txt"):
        source = ROOT / name
        shutil.copytree(source, place / name) if source.is_dir() else shutil.copy(source, place / name)
    return place


def execute(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    line = line.replace(".venv/bin/python", sys.executable)
    if re.search(r" (run|report|status|sync|study|summary|importance)( |$)", line):
        line += f" {SMALL}"
    if " study " in line:
        line += " --set trials=2 --set profile.evaluation.samples=64"
    if "--executor" in line:
        line += " --dry-run"  # the clusters themselves are tested in test_resources.py
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        shlex.split(line), cwd=cwd, capture_output=True, text=True, check=False, env=environment, timeout=200
    )


def test_there_are_commands():
    assert len(commands()) >= 10


@pytest.mark.parametrize("line", commands())
def test_command(line, place):
    if line.startswith("make "):
        said = subprocess.run(
            ["make", "-n", line.split()[1]], cwd=place, capture_output=True, text=True, check=True
        )
        assert "pip install" in said.stdout  # a fresh clone is installed first
        return
    if " ui" in line:
        line += " --help"  # a server that listens; its start is tested in test_tracking.py
    if "KEY" in line:
        key = next(p.parent.name for p in (place / "runs").glob("*/model.safetensors"))
        line = line.replace("KEY", key)
    done = execute(line, place)
    assert done.returncode == 0, done.stderr


def test_the_study_of_the_page_plans(place):
    text = next(b for b in blocks("yaml", PAGES) if "search:" in b)
    (place / "my_study.yaml").write_text(text)
    command = [sys.executable, "-m", "ablate", "study", "my_study.yaml", "--dry-run"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    assert "my_study" in done.stdout


def test_the_experiment_plans_and_its_mistakes_are_told_as_shown(place):
    (example,) = blocks("yaml")
    (place / "my_table.yaml").write_text(example)
    done = execute(".venv/bin/python -m ablate run my_table.yaml --dry-run", place)
    assert done.returncode == 0, done.stderr
    wrong = example.replace("adaptive]}", "adaptve]}").replace("[0.01, 0.03]", "[0.01, 1e-2]")
    (place / "my_table.yaml").write_text(wrong)
    done = execute(".venv/bin/python -m ablate run my_table.yaml --dry-run", place)
    assert done.returncode == 2
    shown = blocks("text")[0].strip().splitlines()
    assert set(shown) <= set(done.stderr.strip().splitlines()), done.stderr


def test_the_option_of_ones_own_works_as_shown(place):
    (code,) = blocks("python", OPTIONS)
    (place / "my_metric.py").write_text(code)
    (place / "own.yaml").write_text(*blocks("yaml", OPTIONS))
    done = execute(".venv/bin/python -m ablate run own.yaml --json", place)
    assert done.returncode == 0, done.stderr
    (key,) = json.loads(done.stdout)["computed"]
    assert json.loads((place / "runs" / key / "record.json").read_text())["recipe"]["metric.scale"] == 3.0


def test_the_claims_of_the_page_plan(place):
    (example,) = blocks("yaml", CLAIMS)
    (place / "my_claims.yaml").write_text(example)
    done = execute(".venv/bin/python -m ablate run my_claims.yaml --dry-run", place)
    assert done.returncode == 0, done.stderr


def test_the_notebook_of_the_page_works(place):
    (code,) = blocks("python", CLAIMS)
    (place / "small.yaml").write_text("name: small\nseeds: [0]\nplan: [{list: [{label: ict}]}]\n")
    done = execute(".venv/bin/python -m ablate run small.yaml", place)
    assert done.returncode == 0, done.stderr
    budget = {"profile.images": 160, "profile.batch": 16, "profile.evaluation.samples": 32}
    code = code.replace('results("table1")', f'results("small.yaml", overrides={budget}, seeds=[0])')
    command = [sys.executable, "-c", code + "\nprint(tuple(images.shape), len(mean))"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[0] == "(16, 1, 8, 8) 2", done.stderr


def test_its_pictures_and_links_are_there():
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_its_table_of_defects_is_the_committed_one():
    import csv

    with (ROOT / "reports" / "replay_script" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    shown = re.findall(
        r"^\| \**[^|]+\| \**([\d.]+) ± ([\d.]+)\** \| \**([\d.]+) ± ([\d.]+)\** \|$", TEXT, re.M
    )
    assert len(shown) == len(rows)
    names = ("fid_1step", "fid_1step_std", "fid_2step", "fid_2step_std")
    for line, row in zip(shown, rows, strict=True):
        assert [float(v) for v in line] == pytest.approx([float(row[n]) for n in names], abs=0.0501)
