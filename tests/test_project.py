"""The files around the package agree with each other: version, licence, name, commands and pinned tools."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata

import pytest
import yaml
from helpers import layers

import ablate
from ablate.runs.record import provenance

ROOT = layers.PACKAGE.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_version_is_one():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert {ablate.__version__, metadata("ablate-ct")["Version"], cited, newest} == {ablate.__version__}


def test_records_name_the_version_under_the_package_s_name():
    assert provenance()["versions"]["ablate"] == ablate.__version__


def test_the_licence_is_one():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["license"]
    assert {PROJECT["license"], metadata("ablate-ct")["License-Expression"], cited} == {"Apache-2.0"}
    text = (ROOT / "LICENSE").read_text()
    assert re.search(
        r"Apache License\n\s+Version 2\.0, January 2004\n.*END OF TERMS AND CONDITIONS", text, re.DOTALL
    )


def test_every_extra_that_is_named_exists():
    pages = [*layers.PACKAGE.rglob("*.py"), *ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    text = "\n".join(page.read_text() for page in pages)
    named = {*re.findall(r"'\.\[(\w+)\]'", text), *re.findall(r'missing_extra\("\w+", "(\w+)"\)', text)}
    assert {"ray", "slurm", "diffusers", "8bit"} <= named <= set(PROJECT["optional-dependencies"])
    assert "ablate[" not in text  # the index has another package of this name


def test_the_workflow_runs_the_readme_s_commands_on_every_python():
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    matrix = job["strategy"]["matrix"]
    readme = (ROOT / "README.md").read_text()
    assert matrix["command"] == ["make demo", "make test"]
    assert all(re.search(rf"^{command}\b", readme, re.MULTILINE) for command in matrix["command"])
    assert f">={matrix['python'][0]}" == PROJECT["requires-python"]


def test_the_hooks_are_make_lint():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repository["hooks"]:
        tool, *verb = hook["entry"].removeprefix(".venv/bin/").removesuffix(" --force-exclude").split()
        assert re.search(rf"^\t\$\(BIN\)/{' '.join([tool, *verb])}\b", MAKEFILE, re.MULTILINE), hook["entry"]


@pytest.mark.parametrize("extra", ["dev", "docs"])
def test_what_make_installs_is_pinned(extra):
    def name(requirement):
        return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")

    pinned = {name(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"][extra]
    assert [r for r in wanted if name(r) not in pinned] == []
