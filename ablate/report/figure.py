"""The contract of a figure, and all figures in the order of the page."""

from __future__ import annotations

import inspect
import sys
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from ablate.analysis.results import Results
from ablate.core import plugins


class Figure(ABC):
    """A figure of the report.

    A subclass in `ablate/report/figures/`, or in a module that an entry point `ablate.figures` names, is drawn in every
    report and shown on its page. Import matplotlib inside `draw`, so that `ablate` starts quickly.
    """

    ORDER: ClassVar[int]  # place on the page, ascending
    FILE: ClassVar[str]  # file name, `fid.png`
    TITLE: ClassVar[str]
    CAPTION: ClassVar[str]
    MOST: ClassVar[int] = 10**9  # rows that are shown; the caption says so where there are more

    # rows that `draw` found something of, where that needs files besides the records
    shown: int | None = None

    @abstractmethod
    def draw(self, results: Results, path: Path) -> bool:
        """Write the figure to `path`, a PNG in an empty folder.

        Further files beside `path`, in subfolders too, are kept as well. You need not clean up when you raise: the
        report is then written without this figure, with one line of warning.

        Returns:
            False where there is nothing to show; nothing is kept then.
        """

    def source(self) -> Path:
        """The file that defines the figure: a report is drawn again when it changes."""
        return Path(inspect.getfile(type(self)))


def figures() -> list[Figure]:
    """One of each kind, in the order of the page."""
    plugins.load("ablate.report.figures", "ablate.figures")
    return sorted(
        (kind() for kind in Figure.__subclasses__()), key=lambda figure: (figure.ORDER, figure.FILE)
    )


def draw(results: Results, folder: Path) -> tuple[list[str], bool, dict[str, int]]:
    """Draw all figures into `folder`.

    Returns:
        The names of the files; whether every figure could be drawn, one that could not is named on stderr; and how
        many rows the figures show that need files of cells.
    """
    names, whole, rows = list[str](), True, dict[str, int]()
    for figure in figures():
        try:
            names += _drawn(figure, results, folder)
            rows |= {figure.FILE: figure.shown} if figure.shown else {}
        except Exception as error:  # of any kind: a figure, perhaps somebody else's, never costs the tables
            whole = False
            print(f"warning: {figure.FILE} is left out: {_line(error)}", file=sys.stderr)
    return names, whole, rows


def _drawn(figure: Figure, results: Results, folder: Path) -> list[str]:
    """Draw one figure in a folder of its own, then move its files in place; their names."""
    with tempfile.TemporaryDirectory(prefix=".figure-", dir=folder) as place:
        if not figure.draw(results, Path(place) / figure.FILE):
            return []
        files = sorted(file for file in Path(place).rglob("*") if file.is_file())
        names = [file.relative_to(place).as_posix() for file in files]
        for file, name in zip(files, names, strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            file.replace(folder / name)
    return names


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
