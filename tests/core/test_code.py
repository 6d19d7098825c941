"""Which files an option's own code is: all that is yours and imported, nothing that is installed."""

from __future__ import annotations

import importlib
import sys

import pytest

from ablate.core import code

FILES = {
    "my_option.py": "import torch\nimport my_helper\nfrom my_tools import scale\nfrom my_tools.deep import depth\n",
    "my_helper.py": "def late():\n    import my_late\n    import json\n",
    "my_late.py": "from my_parts.bare import value\n",
    "my_tools/__init__.py": "from . import scale\n",
    "my_tools/scale.py": "from ..my_tools import sibling\n",
    "my_tools/sibling.py": "",
    "my_tools/deep/__init__.py": "from .depth import by\n",
    "my_tools/deep/depth.py": "import ablate\nfrom ..sibling import x\n",
    "my_parts/bare.py": "value = 1\n",  # a folder without __init__.py
}
UNUSED = {"my_other.py": "import my_option\n", "my_tools/unused.py": ""}


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name, text in {**FILES, **UNUSED}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def test_everything_that_is_yours_and_imported_is_found_and_nothing_is_run(place):
    before = set(sys.modules)
    found = code.files(["my_option"])
    assert {str(file.relative_to(place)) for file in found.values()} == set(FILES)
    assert not any(name.startswith("my_") for name in set(sys.modules) - before)


@pytest.mark.parametrize("name", [*FILES, *UNUSED])
def test_a_change_of_a_file_that_is_used_changes_the_hash(place, name):
    before = code.digest(code.files(["my_option"]))
    (place / name).write_text((place / name).read_text() + "more = 1\n")
    assert (code.digest(code.files(["my_option"])) != before) == (name in FILES)


def test_line_ends_are_not_part_of_the_hash(place):
    before = code.digest(code.files(["my_option"]))
    (place / "my_option.py").write_bytes((place / "my_option.py").read_bytes().replace(b"\n", b"\r\n"))
    assert code.digest(code.files(["my_option"])) == before


def test_what_is_installed_counts_only_if_it_is_the_option_itself():
    assert code.files(["torch.nn", "json", "pydantic", "ablate.core.code", "no_such_module"]) == {}
    assert set(code.files(["filelock"], installed="filelock")) >= {"filelock", "filelock._api"}
    assert [code.exists(name) for name in ("torch.nn.functional", "json", "torch.no_such")] == [
        True,
        True,
        False,
    ]


def test_a_file_that_is_no_python_is_still_part_of_the_hash(place):
    (place / "my_late.py").write_text("def :\n")
    assert "my_late" in code.files(["my_option"])


def test_copies_are_imported_in_place_of_a_newer_version_which_comes_back_afterwards(place, tmp_path_factory):
    kept = tmp_path_factory.mktemp("kept")
    code.copy(code.files(["my_late"]), kept)
    (place / "my_parts" / "bare.py").write_text("value = 22\n")
    assert importlib.import_module("my_late").value == 22
    files = sorted(kept.rglob("*"))
    with code.kept(kept):
        assert importlib.import_module("my_late").value == 1
    assert sys.modules["my_late"].value == importlib.import_module("my_parts.bare").value == 22
    assert sorted(kept.rglob("*")) == files  # no bytecode either


def test_copies_stay_imported_where_you_have_no_such_module(place, tmp_path_factory):
    kept = tmp_path_factory.mktemp("kept")
    code.copy(code.files(["my_late"]), kept)
    for name in ("my_late.py", "my_parts/bare.py"):
        (place / name).unlink()
    (place / "my_parts").rmdir()
    importlib.invalidate_caches()
    with code.kept(kept):
        late = importlib.import_module("my_late")
    assert sys.modules["my_late"] is late
    with code.kept(kept / "no_such_folder"):
        assert sys.modules["my_late"] is late
