"""Commands and snippets of the pages of docs/ that train nothing, in this process."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablate.cli import app
from ablate.config.profile import load_profile
from ablate.core.registry import AXES
from ablate.planning import planner

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("concepts", "experiments", "options", "evidence")


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)


def commands():
    lines = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    return [re.sub(r"\s+#.*", "", line) for line in lines]


@pytest.fixture
def my_metric(tmp_path, monkeypatch):
    """The page's module, importable beside the experiment file, and forgotten afterwards."""
    monkeypatch.setattr(AXES["metric"], "options", dict(AXES["metric"].options))
    monkeypatch.delitem(sys.modules, "my_metric", raising=False)
    (code,) = blocks("options", "python")
    (tmp_path / "my_metric.py").write_text(code)
    yield code
    sys.modules.pop("my_metric", None)


@pytest.mark.parametrize("line", commands())
def test_command(line, tmp_path):
    before, words = ".venv/bin/python -m ablate ", line
    assert words.startswith(before)
    place = ["--runs-dir", str(tmp_path)] if " run " in line or " show " in line else []
    done = CliRunner().invoke(app, [*shlex.split(words.removeprefix(before)), *place], catch_exceptions=False)
    assert done.exit_code == 0
    assert len(done.output.splitlines()) > 1 or done.output.startswith("{")


def test_every_experiment_plans(tmp_path):
    *experiments, profile, imagenet = blocks("experiments", "yaml")
    rows = {}
    for text in experiments:
        (tmp_path / "it.yaml").write_text(text)
        found = planner.load(tmp_path / "it.yaml")
        rows[found.name] = len(found.rows)
    assert rows | {"first": 4, "rows": 4, "combinations": 12, "together": 3} == rows
    (tmp_path / "mine.yaml").write_text(profile)
    assert load_profile(str(tmp_path / "mine.yaml")).steps == 100_000
    (tmp_path / "imagenet.yaml").write_text(imagenet)
    assert load_profile(str(tmp_path / "imagenet.yaml")).data.interpolation == "lanczos"


def test_the_option_of_ones_own_plans_and_its_test_passes(tmp_path, my_metric):
    (text,) = blocks("options", "yaml")
    (tmp_path / "own.yaml").write_text(text)
    (row,) = planner.load(tmp_path / "own.yaml").rows
    assert row.recipe.flat()["metric.scale"] == 3.0
    import my_metric as module

    module.test_it_is_a_scaled_distance()
    (tmp_path / "own.yaml").write_text(text.replace("3.0", "-3.0"))
    with pytest.raises(ValueError, match="scale > 0 must hold"):
        planner.load(tmp_path / "own.yaml")


@pytest.mark.parametrize("page", sorted(p.stem for p in DOCS.glob("*.md")))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", (DOCS / f"{page}.md").read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (DOCS / target).exists(), target


def test_the_readme_leads_to_every_page():
    text = (DOCS.parent / "README.md").read_text()
    assert all(f"docs/{page.name}" in text for page in DOCS.glob("*.md"))
