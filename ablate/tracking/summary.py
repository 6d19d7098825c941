"""What MLflow shows of an experiment as a whole: its description, and each row's FID over its seeds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ablate.core.formats import count
from ablate.report.markdown import one_line
from ablate.tracking.view import OVER_SEEDS

if TYPE_CHECKING:
    from ablate.analysis.lines import Line
    from ablate.analysis.results import Results

LONGEST = 5000  # characters of an experiment's tag


def description(results: Results) -> str:
    """The FIDs of all rows and the verdicts, in Markdown; rows that do not fit are counted."""
    columns, verdicts = results.measured, results.verdicts
    rows = [
        [literal(line.row.named), *(str(line.stat("fid", c) or "-") for c in columns), _seeds(line)]
        for line in results.lines
    ]
    head = ["row", *(c.heading for c in columns), "seeds"]
    found = "\n".join(f"- {literal(v.claim.says)}: **{v.state}** ({literal(v.because)})" for v in verdicts)
    for shown in range(len(rows), -1, -1):
        left = len(rows) - shown
        parts = [
            found,
            _table([head, ["---"] * len(head), *rows[:shown]]) if shown else "",
            f"{count(left, 'further row')} in the report's table." if left else "",
        ]
        if len(text := "\n\n".join(filter(None, parts))) <= LONGEST:
            return text
    return text[:LONGEST]


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table without padding, which would use up the characters of the tag."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def literal(text: str) -> str:
    """`text` letter by letter in MLflow's Markdown, which does not know all escapes, but all character references."""
    text = re.sub(r"[^\w\s.,;%+()/'?-]|_", lambda mark: f"&#{ord(mark[0])};", one_line(text))
    return re.sub(r"^(\s*\d*)([-+.)])", lambda start: f"{start[1]}&#{ord(start[2])};", text)


def over_seeds(results: Results) -> dict[str, dict[str, str]]:
    """MLflow tags by cell: mean and standard deviation of its row's FIDs, as `fid_1step over seeds`."""
    tags: dict[str, dict[str, str]] = {}
    for line in results.lines:
        means = {
            f"fid_{c.nfe}step{OVER_SEEDS}": f"{stat} (n={_seeds(line)})"
            # of two ways to measure one number of steps, the first is shown
            for c in reversed(results.measured)
            if (stat := line.stat("fid", c))
        }
        for key in line.row.keys:
            tags.setdefault(key, means)
    return tags


def _seeds(line: Line) -> str:
    """How many seeds the means are of, and what became of the others."""
    return f"{line.n}, {line.lost}" if line.lost else str(line.n)
