"""Pieces of Markdown: your own text, tables and footnotes."""

from __future__ import annotations

import re
from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; all columns after the first `left` are aligned to the right."""
    from tabulate import tabulate

    align = ["left" if i < left else "right" for i in range(len(headings))]
    content = [[plain(cell) for cell in row] for row in rows]
    names = [plain(h) for h in headings]
    return str(tabulate(content, names, tablefmt="pipe", colalign=align, disable_numparse=True))


def plain(text: str) -> str:
    """A table's cell: one line, its bars escaped, since a bar ends the cell."""
    return one_line(text).replace("|", "\\|")


def one_line(text: str) -> str:
    """`text` with spaces for its line breaks."""
    return re.sub(r"\s*[\r\n]+\s*", " ", text)


def escape(text: str) -> str:
    """`text` letter by letter: what a person wrote as a label, a name or a path is no markup.

    An underscore inside a word stays bare, as in `noise.p_mean`: it is no emphasis there. A dollar is escaped, since
    some viewers read mathematics.
    """
    return re.sub(r"[\\`*\[\]<>&$~#]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def prose(text: str) -> str:
    """A sentence that a person wrote: names in backticks are code, all else is letter by letter."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if i % 2 else escape(part) for i, part in enumerate(parts))


def paragraph(text: str) -> str:
    """`text` letter by letter at the start of a block, where it could begin a list or underline a heading."""
    return re.sub(r"^(\s*\d*)([-+=.)])", r"\1\\\2", escape(text))


class Footnotes:
    """Notes, numbered in the order of their first use."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str) -> str:
        """The mark of a note; the same text has the same mark."""
        text = one_line(text)
        if text not in self.texts:
            self.texts.append(text)
        return f"[^{self.texts.index(text) + 1}]"

    def __str__(self) -> str:
        return "\n".join(f"[^{i}]: {text}" for i, text in enumerate(self.texts, 1))
