"""Every command and snippet of the README, word for word, in a clone whose tables and budget are small."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from helpers.cli import call, launch
from PIL import Image

from ablate.core import yaml_files
from ablate.core.registry import AXES
from ablate.cost import bench, estimate, timing

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
CLAIMS = (ROOT / "docs" / "claims.md").read_text()
OPTIONS = (ROOT / "docs" / "options.md").read_text()
PAGES = TEXT + (ROOT / "docs" / "scale.md").read_text() + CLAIMS
PREFIX = ".venv/bin/python -m ablate "
ROWS = [{"label": "ict"}, {"label": "l2", "set": {"metric": "l2"}}]  # of every table of the clone
BUDGET = {"images": 160, "evaluation": {"samples": 64}}
NETWORK = {"network.width": 8, "network.multipliers": [1], "network.blocks": 1, "network.attention": []}


def blocks(language: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> list[str]:
    lines = [
        line.split("#")[0].strip() for block in blocks("(?:ba)?sh", PAGES) for line in block.splitlines()
    ]
    return [line for line in lines if line] + re.findall(rf"`({PREFIX}[^`]*)`", TEXT)


def words(line: str) -> list[str]:
    """The arguments of a command line of ablate."""
    assert line.startswith(PREFIX), line
    return shlex.split(line.removeprefix(PREFIX))


def elsewhere(arguments: list[str]) -> bool:
    """Whether a command needs a cluster, or hours: it is planned only."""
    return "--executor" in arguments or "profile.data.name=folder" in arguments


def trains(line: str) -> bool:
    return line.startswith(f"{PREFIX}run ") and "--dry-run" not in line and not elsewhere(words(line))


def shortened(file: Path) -> None:
    """Leave two rows of an experiment, and the claims about them; two trials of a study."""
    content = yaml_files.read(file) | {"seeds": [0, 1]}
    if "search" in content:
        content |= {"seeds": [0], "trials": 2}
    else:
        labels = {row["label"] for row in ROWS}
        about = [
            {c[side].get("row") for side in ("better", "worse") if side in c}
            for c in content.get("claims", [])
        ]
        kept = [
            c for c, rows in zip(content.get("claims", []), about, strict=True) if rows and rows <= labels
        ]
        content |= {"plan": [{"list": ROWS}], "claims": kept}
    content["set"] = {
        k: v for k, v in content.get("set", {}).items() if not k.startswith("network")
    } | NETWORK
    file.write_text(yaml_files.write(content))


@pytest.fixture(scope="module")
def clone(tmp_path_factory, warmed):
    """What a clone has, without its environment and results, with small tables and a small budget."""
    place = warmed(tmp_path_factory.mktemp("clone"))
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, place / name)
    for file in sorted({*re.findall(r"experiments/\w+\.yaml", PAGES)}):
        (place / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, place / file)
        shortened(place / file)
    for name in ("profiles", "recipes"):
        shutil.copytree(ROOT / "experiments" / name, place / "experiments" / name)
    digits = place / "experiments" / "profiles" / "digits.yaml"
    content = yaml_files.read(digits)
    content["evaluation"] |= BUDGET["evaluation"]
    content["adapt"] |= NETWORK
    content |= {"images": BUDGET["images"]}
    digits.write_text(yaml_files.write(content))
    (digits.parent / "cifar10-1gpu.yaml").write_text(yaml_files.write(content | {"name": "cifar10-1gpu"}))
    for i in range(96):  # what the README calls your pictures
        folder = place / "pictures" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 20, 3), 2 * i, np.uint8)).save(folder / f"{i}.png")
    (place / "docs").mkdir()
    (place / "docs" / "evidence.md").write_text("<!-- claims: digits -->\n<!-- /claims -->\n")
    return place


@pytest.fixture(scope="module")
def place(clone):
    """The clone after the first command that trains: a process of its own, as a reader starts it."""
    done = launch(*words(next(filter(trains, commands()))), cwd=clone)
    assert done.returncode == 0, done.stderr
    return clone


@pytest.fixture(scope="module", autouse=True)
def _measured_once():
    """Several commands measure how fast a network trains here; each network is measured for the first alone."""
    known = {}

    def asked(module, cell, *arguments, copies=1):
        question = (
            module,
            cell.key,
            *arguments[1:],
            copies,
        )  # the first argument is a folder or a thread count
        if question not in known:
            known[question] = timing.in_processes(module, cell, *arguments, copies=copies)
        return known[question]

    with mock.patch.object(bench, "in_processes", asked), mock.patch.object(estimate, "in_processes", asked):
        yield


def test_there_are_commands():
    assert len(commands()) >= 10
    assert any(map(trains, commands()))


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("make ")])
def test_make_installs_a_fresh_clone_first(line, clone):
    said = subprocess.run(
        ["make", "-n", line.split()[1]], cwd=clone, capture_output=True, text=True, check=True
    )
    assert "pip install" in said.stdout


@pytest.mark.parametrize("line", [line for line in commands() if not line.startswith("make ")])
def test_command(line, place):
    arguments = words(line)
    if arguments[0] == "ui":
        arguments += ["--help"]  # a server that listens; its start is tested in test_tracker.py
    if elsewhere(arguments):
        arguments += ["--dry-run"]  # clusters are tested in test_resources.py
    if "KEY" in arguments:
        arguments[arguments.index("KEY")] = next((place / "runs").glob("*/model.safetensors")).parent.name
    done = call(*arguments, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


def planned(place, name, text):
    (place / name).write_text(text)
    return call("run", name, "--dry-run", cwd=place)


def test_the_study_of_the_page_plans(clone):
    (clone / "my_study.yaml").write_text(next(b for b in blocks("yaml", PAGES) if "search:" in b))
    done = call("study", "my_study.yaml", "--dry-run", cwd=clone)
    assert done.returncode == 0, done.stderr
    assert "my_study" in done.stdout


def test_the_experiment_plans_and_its_errors_are_reported_as_shown(clone):
    (example,) = blocks("yaml")
    done = planned(clone, "my_table.yaml", example)
    assert done.returncode == 0, done.stderr
    wrong = example.replace("adaptive]}", "adaptve]}").replace("[0.01, 0.03]", "[0.01, o.03]")
    done = planned(clone, "my_table.yaml", wrong)
    assert done.returncode == 2
    shown = blocks("text")[0].strip().splitlines()
    assert set(shown) <= set(done.stderr.strip().splitlines()), done.stderr


@pytest.fixture
def my_metric(monkeypatch):
    """Forget afterwards what importing the page's module registered."""
    monkeypatch.setattr(AXES["metric"], "options", dict(AXES["metric"].options))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_metric", raising=False)
    yield
    sys.modules.pop("my_metric", None)


@pytest.mark.usefixtures("my_metric")
def test_your_own_option_trains_as_shown(clone):
    (code,) = blocks("python", OPTIONS)
    (clone / "my_metric.py").write_text(code)
    (clone / "own.yaml").write_text(*blocks("yaml", OPTIONS))
    done = call("run", "own.yaml", "--seeds", "0", "--json", cwd=clone)
    assert done.returncode == 0, done.stderr
    (key,) = json.loads(done.stdout)["computed"]
    assert json.loads((clone / "runs" / key / "config.json").read_text())["specs"]["metric"]["scale"] == 3.0


def test_the_claims_of_the_page_plan(clone):
    (example,) = blocks("yaml", CLAIMS)
    done = planned(clone, "my_claims.yaml", example)
    assert done.returncode == 0, done.stderr


def test_the_notebook_of_the_page_works(place, monkeypatch):
    (code,) = blocks("python", CLAIMS)
    monkeypatch.chdir(place)
    shown = {}
    exec(code, shown)
    assert tuple(shown["images"].shape) == (16, 1, 8, 8)
    assert len(shown["mean"]) == 2 * len(ROWS)  # one and two evaluations of each row


def test_its_pictures_and_links_are_there():
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", prose):
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
