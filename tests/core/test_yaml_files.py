from __future__ import annotations

import pytest

from ablate.core import yaml_files
from ablate.core.errors import SpecError


def test_plain_data_comes_back():
    data = {"a": 1e-05, "b": [1, "no", None, True], "c": {"d": "1e-4"}}
    assert yaml_files.parse(yaml_files.write(data)) == data


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("a: [1", "not valid YAML"),
        ("a: 1\na: 2", "twice"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("? [1, 2]\n: x\n? {a: 1}\n: y", "key"),
        ("&a [*a]", "itself"),
        ("[" * 100 + "]" * 100, "deeper"),
        ("a: 2001-99-99", "not valid YAML"),
        ("\x00", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text, said):
    with pytest.raises(SpecError) as caught:
        yaml_files.parse(text)
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


def test_a_bomb_of_aliases_is_found_before_it_is_expanded():
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for here, before in zip("bcdefghi", "abcdefgh", strict=True):
        bomb += f"{here}: &{here} [" + ", ".join([f"*{before}"] * 9) + "]\n"
    with pytest.raises(SpecError, match="aliases"):
        yaml_files.parse(bomb)


def test_a_large_file_and_bytes_that_are_no_text(tmp_path):
    (tmp_path / "large.yaml").write_text("a: " + "x" * yaml_files.LARGEST)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\xfe")
    for name, said in {"large.yaml": "at most", "latin.yaml": "UTF-8", "none.yaml": "no such file"}.items():
        with pytest.raises(SpecError, match=said):
            yaml_files.read(tmp_path / name)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(SpecError, match="directory"):
        yaml_files.read(tmp_path)
