"""Pieces of Markdown: tables and footnotes."""

from __future__ import annotations

from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; all columns after the first `left` are aligned to the right."""
    from tabulate import tabulate

    align = ["left" if i < left else "right" for i in range(len(headings))]
    content = [[plain(cell) for cell in row] for row in rows]
    names = [plain(h) for h in headings]
    return str(tabulate(content, names, tablefmt="pipe", colalign=align, disable_numparse=True))


def plain(text: str) -> str:
    """`text` on one line, its bars escaped: a bar ends a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


class Footnotes:
    """Notes, numbered in the order of their first use."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str) -> str:
        """The mark of a note; the same text has the same mark."""
        text = " ".join(text.split())
        if text not in self.texts:
            self.texts.append(text)
        return f"[^{self.texts.index(text) + 1}]"

    def __str__(self) -> str:
        return "\n".join(f"[^{i}]: {text}" for i, text in enumerate(self.texts, 1))
