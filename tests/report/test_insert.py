"""Tables of claims inside other pages are made from the records, those of this project too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ablate.core.errors import SpecError
from ablate.report.insert import insert
from ablate.report.summary import summary

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/evidence.md")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What the tables depend on, with their contents removed."""
    place = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "reports", place / "reports", ignore=shutil.ignore_patterns("*.png", "*.html"))
    for name in PAGES:
        (place / name).parent.mkdir(exist_ok=True)
        text = (ROOT / name).read_text()
        (place / name).write_text(text.replace("supported", "-").replace("FID", "D"))
    return place


def test_the_tables_of_the_readme_and_the_evidence_are_what_the_records_say(clone, monkeypatch):
    monkeypatch.chdir(ROOT)
    reported = {folder.parent.name for folder in clone.glob("reports/**/records.jsonl")}
    files = [ROOT / "experiments" / f"{name}.yaml" for name in sorted({*reported, "claims"})]
    files = [file for file in files if "claims:" in file.read_text()]
    summary(files, clone / "runs", clone / "reports", inserted=[clone / name for name in PAGES])
    for name in PAGES:
        made, committed = (tables((place / name).read_text()) for place in (clone, ROOT))
        assert made == committed, name


def tables(text: str) -> list[str]:
    """The lines of the tables of claims."""
    parts = text.split("<!-- claims: ")[1:]
    assert parts
    return [line for part in parts for line in part.partition("<!-- /claims -->")[0].splitlines()]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("# no place", ["needs a line `<!-- claims: PROFILE -->` and, below it, `<!-- /claims -->`"]),
        (
            "<!-- claims: digits -->",
            ["needs a line `<!-- claims: PROFILE -->` and, below it, `<!-- /claims -->`"],
        ),
        ("<!-- claims: digitz -->\n<!-- /claims -->", ["digitz: no records; did you mean 'digits'?"]),
        (
            "<!-- claims: a, digits; P1, P77 -->\n<!-- /claims -->\n<!-- claims: a -->\n<!-- /claims -->",
            ["a: no records; there are: digits", "P77: no such claim; there are: P1"],
        ),
    ],
)
def test_a_page_that_cannot_be_filled_stays_as_it_is(tmp_path, text, problems):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(SpecError) as caught:
        insert(page, {"P1": "a beats b"}, {"P1": {"digits": None}}, {})
    assert caught.value.problems == [f"--insert {page}: {line}" for line in problems]
    assert page.read_text() == text


def test_a_missing_page_is_one_line(tmp_path):
    with pytest.raises(SpecError, match=r"--insert .*gone\.md: "):
        insert(tmp_path / "gone.md", {}, {}, {})


def test_an_answer_that_is_missing_is_a_dash_and_the_rest_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- claims: digits -->\nold\n<!-- /claims -->\nafter |\n")
    insert(page, {"P1": "a | b", "P2": "c"}, {"P1": {"digits": None}}, {})
    lines = page.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after |"
    assert lines[4:6] == ["| P1 | a \\| b | - | - |", "| P2 | c | - | - |"]


@pytest.mark.parametrize(
    "text",
    [
        "<!-- claims: digits -->\nmine\n## Next\n<!-- claims: digits -->\n<!-- /claims -->\n",
        "<!-- claims: digits -->\n<!-- /claims -->\nmine\n<!-- /claims -->\n",
        "<!-- claims: digits -->\n<!-- /claims -->\n<!-- claims: digits -->\nmine\n",
    ],
)
def test_a_mark_without_its_other_is_an_error_and_no_text_is_lost(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(SpecError, match="needs a line"):
        insert(page, {"P1": "a"}, {"P1": {"digits": None}}, {})
    assert page.read_text() == text


def test_a_page_keeps_its_ends_of_lines(tmp_path):
    page = tmp_path / "page.md"
    page.write_bytes(b"before\r\n<!-- claims: digits -->\r\nold\r\n<!-- /claims -->\r\nafter\r\n")
    insert(page, {"P1": "a"}, {"P1": {"digits": None}}, {})
    assert page.read_bytes().count(b"\n") == page.read_bytes().count(b"\r\n") == 7
