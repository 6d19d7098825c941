from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.core.typed import text_of


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
        ("a: !!int x", "not valid YAML of type int"),
        ("a: !!bool on", "not valid YAML of type bool"),
        ("a: !!map x", "not a mapping"),
        ("a: " + "9" * 5000, "type int"),
        ('a: "b\\0c"', "cannot be part of a text"),
        ("<<: [{a: 1}, 3]", "needs a mapping, or a list of mappings, not 3"),
        ("<<: {a: 1}\n<<: {b: 2}", "twice"),
        ('"a\\nb": 1', "a key is one line"),
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


def test_a_device_without_an_end_is_too_large():
    with pytest.raises(SpecError, match="at most"):
        yaml_files.read("/dev/zero")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(SpecError, match="directory"):
        yaml_files.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 0.0001),
        ("-1.5E+3", -1500.0),
        (".5", 0.5),
        ("020", 20),
        ("0x1f", 31),
        ("true", True),
        ("~", None),
        ("0.1 # of the paper", 0.1),
        ("no", "no"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("1_000", "1_000"),
        ("1:30:00", "1:30:00"),
        ("2024-01-02", "2024-01-02"),
        ("0b11", "0b11"),
        ("=", "="),
        ("<<", "<<"),
        ("{<<a: 1}", {"<<a": 1}),
        ("'1e-4'", "1e-4"),
    ],
)
def test_values_are_those_of_yaml_1_2(text, value):
    found = yaml_files.parse(f"a: {text}")["a"]
    assert found == value
    assert isinstance(found, bool) == isinstance(value, bool)
    assert yaml_files.parse(yaml_files.write({"a": value})) == {"a": value}


MERGES = """
base: &base {a: 1, b: [x]}
more: {<<: *base, b: 2}
first: {<<: [*base, {b: 3, c: 4}], d: 5}
nested: &nested {<<: *base, a: 6}
twice: {<<: *nested, '<<': as a text}
"""


def test_merge_keys():
    found = yaml_files.parse(MERGES)
    assert found["more"] == {"a": 1, "b": 2}
    assert found["first"] == {"a": 1, "b": ["x"], "c": 4, "d": 5}
    assert found["twice"] == {"a": 6, "b": ["x"], "<<": "as a text"}
    assert yaml_files.parse(yaml_files.write(found)) == found


def test_numbers_keep_the_text_that_was_typed():
    found = yaml_files.parse("[007, 1e-2, 0x10, {a: 1.50}]")
    assert [text_of(n) for n in (*found[:3], found[3]["a"])] == ["007", "1e-2", "0x10", "1.50"]
    assert yaml_files.write(found) == "- 007\n- 1e-2\n- 0x10\n- {a: 1.50}\n"


@pytest.mark.parametrize(
    ("typed", "text", "value"),
    [
        ("pics #1", "pics #1", "pics #1"),
        ("#1", "#1", "#1"),
        ("0.3 # not a comment", "0.3 # not a comment", "0.3 # not a comment"),
        ("{a: 1} # b", "{a: 1} # b", "{a: 1} # b"),
        ('"2024_01"', "2024_01", "2024_01"),
        ("'12e4'", "12e4", "12e4"),
        ("'a' b", "'a' b", "'a' b"),
        ("1e5", "1e5", 100000.0),
        ("000", "000", 0),
        ("2024-01-02", "2024-01-02", "2024-01-02"),
        ("@pics", "@pics", "@pics"),
        ("*pics", "*pics", "*pics"),
        ("&pics", "&pics", "&pics"),
        ("!pics", "!pics", "!pics"),
        ("|", "|", "|"),
        ("pics: old", "pics: old", {"pics": "old"}),
        ("- pics", "- pics", ["pics"]),
        ("[1, a]", "[1, a]", [1, "a"]),
        ("[a, # b\n c]", "[a, # b\n c]", "[a, # b\n c]"),
        ("{a: 1,\n b: 2}", "{a: 1,\n b: 2}", {"a": 1, "b": 2}),
        (" a  b ", " a  b ", " a  b "),
        ("", "", ""),
        ("null", "null", None),
        ("\udcff", "\udcff", "\udcff"),
    ],
)
def test_a_value_of_the_command_line_keeps_its_text(typed, text, value):
    found = yaml_files.typed(typed)
    assert (str(found), found.value) == (text, value)


def test_what_was_typed_is_written_as_it_was_typed():
    data = {"a": yaml_files.typed("0000"), "b": yaml_files.typed("'12e4'"), "c": yaml_files.typed("{d: 1e5}")}
    assert yaml_files.write(data) == "a: 0000\nb: '12e4'\nc: {d: 1e5}\n"


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["C"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab<=#:'\"- 1e_", max_size=5), inner),
    max_leaves=8,
)


@given(PLAIN)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_plain_data_comes_back(data):
    assert yaml_files.parse(yaml_files.write({"a": data})) == {"a": data}


def _either_way(data: bytes, file) -> None:
    file.write_bytes(data)
    try:
        yaml_files.read(file)
    except SpecError as error:
        assert all("\n" not in problem for problem in error.problems)


ANY = st.binary(max_size=60) | st.text("ab01<&*!#:-_,.?|>%@`'\"[]{}\n\t eExo~", max_size=40).map(str.encode)


@given(ANY)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_bytes_are_data_or_a_line(tmp_path_factory, data):
    _either_way(data, tmp_path_factory.getbasetemp() / "any.yaml")


@pytest.mark.slow
@given(ANY)
@settings(max_examples=2000, deadline=None)
def test_many_more_bytes(tmp_path_factory, data):
    _either_way(data, tmp_path_factory.getbasetemp() / "any.yaml")
