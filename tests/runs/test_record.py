"""Provenance: the commit of this package, never that of a repository around it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from ablate.runs import record

PROJECT = '[project]\nname = "{}"\n'


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def repository(folder, project):
    """A repository with a package in it."""
    (folder / "ablate").mkdir(parents=True)
    (folder / "ablate" / "a.py").write_text("")
    (folder / "pyproject.toml").write_text(PROJECT.format(project))
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "a")
    return folder


@pytest.fixture
def seen(monkeypatch):
    """Commit and dirty of a package whose folder lies in `root`."""

    def look(root):
        monkeypatch.setattr(record, "ROOT", root)
        found = record._provenance.__wrapped__()
        return found["commit"], found["dirty"]

    return look


pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


def test_a_clone_says_its_commit_and_its_changes(tmp_path, seen):
    clone = repository(tmp_path / "clone", "ablate-ct")
    commit, dirty = seen(clone)
    assert (len(commit), dirty) == (40, False)
    (clone / "ablate" / "a.py").write_text("b = 1\n")
    assert seen(clone) == (commit, True)


def test_a_package_installed_inside_another_repository_has_no_commit(tmp_path, seen):
    mine = repository(tmp_path / "mine", "my-project")
    packages = mine / ".venv" / "lib" / "site-packages"
    shutil.copytree(mine / "ablate", packages / "ablate")
    assert seen(packages) == (None, None)


def test_a_copy_in_another_repository_has_no_commit(tmp_path, seen):
    mine = repository(tmp_path / "mine", "my-project")
    assert seen(mine) == (None, None)  # beside its own pyproject.toml
    unpacked = mine / "vendored"
    (unpacked / "ablate").mkdir(parents=True)
    (unpacked / "pyproject.toml").write_text(PROJECT.format("ablate-ct"))
    assert seen(unpacked) == (None, None)


def test_a_clone_inside_another_repository_says_its_own_commit(tmp_path, seen):
    mine = repository(tmp_path / "mine", "my-project")
    own = seen(repository(mine / "ablate-clone", "ablate-ct"))[0]
    assert (
        own
        == subprocess.check_output(
            ["git", "-C", mine / "ablate-clone", "rev-parse", "HEAD"], text=True
        ).strip()
    )


def test_a_hook_of_another_repository_does_not_lend_its_commit(tmp_path, seen, monkeypatch):
    mine, clone = repository(tmp_path / "mine", "my-project"), repository(tmp_path / "clone", "ablate-ct")
    (clone / "ablate" / "a.py").write_text("b = 1\n")
    git(clone, "commit", "--quiet", "--all", "--message", "b")
    alone = seen(clone)
    monkeypatch.setenv("GIT_DIR", str(mine / ".git"))
    assert seen(clone) == alone


def test_no_repository_at_all(tmp_path, seen):
    (tmp_path / "pyproject.toml").write_text(PROJECT.format("ablate-ct"))
    assert seen(tmp_path) == (None, None)
