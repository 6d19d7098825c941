"""Links to a place within a page, the pages of claims and defects, and the commands of docs/ on your own pictures."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import ablate
from ablate.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))
DEFECTS = (DOCS / "defects.md").read_text()
CLAIMS = (DOCS / "paper-claims.md").read_text()


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Places that a link can name: ids in HTML, and headings as GitHub writes them."""
    headings = (
        re.sub(r"[^\w\- ]", "", h.lower()) for h in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    )
    return {*re.findall(r'id="([^"]+)"', prose(page)), *(h.replace(" ", "-") for h in headings)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_a_place_within_a_page_lead_there(page):
    for target, place in re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", prose(page)):
        assert place in anchors(page.parent / target if target else page), f"{target}#{place}"


def test_every_claim_and_every_defect_has_a_line():
    assert re.findall(r'<a id="p(\d+)"></a>P\1 ', CLAIMS) == [str(i) for i in range(1, 11)]
    assert re.findall(r'<a id="d(\d+)"></a>D\1 ', DEFECTS) == [str(i) for i in range(1, 30)]


def test_defects_name_options_that_exist():
    for text in re.findall(r"`(\w+): (\w+)`", DEFECTS):
        assert text[1] in ablate.AXES[text[0]].options, text


def test_fids_of_defects_are_the_committed_ones():
    shown = dict(re.findall(r'^\| <a id="(d[\d-]+)">.*\| (\d[\d,.]*[^|]*) \|$', DEFECTS, re.MULTILINE))
    committed: dict[str, list[float]] = {}
    for table in ("replay_script", "replay_public", "replay_family"):
        with (ROOT / "reports" / table / "table.csv").open() as file:
            for row in csv.DictReader(file):
                name = re.sub(r"^D1 to D3, sampled.*", "D1-3", row["row"]).split()[0].lower()
                if re.fullmatch(r"d\d+|d1-3", name) and row["row"] not in ("D1 to D3",):
                    committed.setdefault(name, []).append(float(row["fid_1step"]))
    assert set(shown) == set(committed) - {"d4"}  # on a CPU its masks are shared
    for name, cell in shown.items():
        values = [float(part.split()[0].replace(",", "")) for part in cell.split(", ")]
        assert values == pytest.approx(committed[name], abs=0.0501), name


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Two classes of made pictures in the current folder, as the pages ask for."""
    rng = np.random.default_rng(0)
    for i in range(96):
        file = tmp_path / "pictures" / f"class{i % 2}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 28, 3), dtype=np.uint8)).save(file)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)


COMMANDS = sorted(
    {
        line.removeprefix(".venv/bin/python -m ablate ")
        for page in DOCS.glob("*.md")  # those of the README are in test_readme.py
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
        for line in block.splitlines()
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_on_your_own_pictures_plan(line, pictures):
    done = CliRunner().invoke(app, [*shlex.split(line), "--dry-run"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "missing 30 cells" in done.output
