"""Tables of claims inside other pages: `<!-- claims: PROFILE, PROFILE -->` to `<!-- /claims -->` in a Markdown file.

One profile makes columns for verdict and change of FID; several make a column each. `<!-- claims: PROFILE; P1, P2 -->`
has these claims only, in this order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ablate.analysis.verdicts import Verdict
from ablate.core.errors import SpecError, nearest
from ablate.core.files import atomic_write
from ablate.core.formats import count
from ablate.report.markdown import escape, prose, table
from ablate.statistics.wording import change, describe, probability

Answers = Mapping[str, Mapping[str, Verdict]]  # claim -> profile -> verdict
Places = Mapping[tuple[str, str], Path]  # claim, profile -> the report that answers it
OPENING, END = "<!-- claims:", "<!-- /claims -->"
PLACE = re.compile(rf"({OPENING} *([^>]*?) *-->\r?\n)(?:(?!{OPENING}).)*?({END})", re.DOTALL)


def insert(file: Path, says: Mapping[str, str], found: Answers, places: Places) -> None:
    """Write the tables of claims of a Markdown file anew; the rest of it stays as it is.

    Raises:
        SpecError: the file cannot be read or has no such place, or a profile has no records.
    """
    try:
        text = file.read_bytes().decode()  # with its own ends of lines
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"--insert {file}: {error}") from None
    known = list(dict.fromkeys(profile for of in found.values() for profile in of))
    asked = [_asked(words) for _, words, _ in PLACE.findall(text)]
    if not asked or not len(asked) == text.count(OPENING) == text.count(END):
        needed = "a line `<!-- claims: PROFILE -->` and, below it, `<!-- /claims -->`"
        raise SpecError(f"--insert {file}: needs {needed}")
    problems = [
        f"--insert {file}: {name}: no {what}; {nearest(name, of)}"
        for parts in asked
        for what, of, names in zip(("records", "such claim"), (known, says), parts, strict=True)
        for name in names
        if name not in of
    ]
    if problems:
        raise SpecError(*dict.fromkeys(problems))

    def link(claim: str, profile: str) -> str:
        report = places.get((claim, profile))
        return "" if report is None else Path(os.path.relpath(report, file.parent)).as_posix()

    def made(match: re.Match[str]) -> str:
        profiles, claims = _asked(match[2])
        lines = _table(profiles, claims or list(says), says, found, link).splitlines()
        end = match[1][len(match[1].rstrip("\r\n")) :]
        return match[1] + "".join(line + end for line in lines) + match[3]

    with atomic_write(file) as temporary:
        temporary.write_bytes(PLACE.sub(made, text).encode())


def _asked(text: str) -> tuple[list[str], list[str]]:
    """The profiles and the claims that a place names."""
    profiles, _, claims = text.partition(";")
    names = ([name.strip() for name in part.split(",") if name.strip()] for part in (profiles, claims))
    return next(names), next(names)


def _table(
    profiles: list[str],
    claims: list[str],
    says: Mapping[str, str],
    found: Answers,
    link: Callable[[str, str], str],
) -> str:
    if len(profiles) == 1:
        headings, answer = ["", "claim", "verdict", "change of FID"], _separate
    else:
        headings, answer = ["", "claim", *profiles], _together
    rows = []
    for claim in claims:
        cells = [cell for p in profiles for cell in answer(found.get(claim, {}).get(p), link(claim, p))]
        rows.append([escape(claim), prose(says[claim]), *cells])
    padded = table(headings, rows, left=len(headings))
    return re.sub(
        r" {2,}", " ", re.sub(r"^\|[-:|]+$", lambda m: re.sub("-+", "---", m[0]), padded, flags=re.M)
    )


def _separate(verdict: Verdict | None, target: str) -> list[str]:
    if verdict is None:
        return ["-", "-"]
    return [_linked(verdict.state, target), escape(_change(verdict)) or "-"]


def _together(verdict: Verdict | None, target: str) -> list[str]:
    if verdict is None or not verdict.n:
        return ["-" if verdict is None else verdict.state]
    facts = [_change(verdict), count(verdict.n, "seed"), f"p {probability(verdict.p)}"]
    return [f"{_linked(verdict.state, target)}: {escape(', '.join(filter(None, facts)))}"]


def _linked(state: str, target: str) -> str:
    return f"[{state}]({target})" if target else state


def _change(verdict: Verdict) -> str:
    """The effect in the unit of the claim: times if it asks for a factor."""
    effect = verdict.evidence.effect or verdict.evidence.seen
    if effect is None:
        return ""
    return (
        describe(effect, times=True).removeprefix("FID ") if verdict.evidence.margin != 1 else change(effect)
    )
