r"""`table.tex`: a booktabs table per section; `\usepackage{booktabs}` is all that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ablate.analysis.frame import Column
from ablate.analysis.lines import Line, best, groups, title
from ablate.analysis.verdicts import Versus
from ablate.analysis.wording import percent, probability
from ablate.core.formats import number

if TYPE_CHECKING:
    from ablate.planning.experiment import Experiment


def latex(
    experiment: Experiment, lines: Sequence[Line], columns: Sequence[Column], versus: Sequence[Versus | None]
) -> str:
    """The tables, each with caption and label; bold: the lowest mean, and what is not told apart from it."""
    import pandas as pd

    texts = []
    for at, group in enumerate(groups(experiment.rows)):
        bold = {c: best([lines[i] for i in group], c) for c in columns}
        rows = [
            {"Row": lines[i].row.label}
            | {_heading(c, columns): _fid(lines[i], c, i in bold[c]) for c in columns}
            | _change(versus[i])
            for i in group
        ]
        table = pd.DataFrame(rows)
        style = table.style.hide(axis="index").format(escape="latex", subset=["Row"])
        heading = _escaped(title([experiment.rows[i] for i in group]))
        caption = f"{_escaped(experiment.name)}: {heading}. FID, mean $\\pm$ standard deviation over seeds; "
        caption += "bold is the lowest and what the paired t-test does not tell apart from it."
        label = f"tab:{experiment.name}-{at + 1}"
        align = "l" + "r" * (len(table.columns) - 1)
        texts.append(
            style.to_latex(hrules=True, column_format=align, caption=caption, label=label, position="t")
        )
    return "\n".join(["% \\usepackage{booktabs}", *texts])


def _heading(column: Column, columns: Sequence[Column]) -> str:
    plain = f"FID, {column.nfe} step{'s' if column.nfe > 1 else ''}"
    alone = sum(c.nfe == column.nfe for c in columns) == 1
    return plain if alone else f"{plain} ({_escaped(column.unlike)})"


def _fid(line: Line, column: Column, bold: bool) -> str:
    stat = line.stat("fid", column)
    if stat is None:
        return next((state for state in ("diverged", "failed") if line.states[state]), "--")
    mean = number(stat.mean).replace(",", "{,}")
    mean = f"\\mathbf{{{mean}}}" if bold else mean
    return f"${mean} \\pm {number(stat.std).replace(',', '{,}')}$" if stat.n > 1 else f"${mean}$"


def _change(versus: Versus | None) -> dict[str, str]:
    pair = versus.paired if versus else None
    by = (
        percent(pair.ratio).replace("%", "\\%").replace("×", "\\times ")
        if pair and pair.n > pair.lost
        else ""
    )
    p = probability(versus.corrected).replace("<", "< ") if versus and pair and pair.n > 1 else ""
    return {"Change": f"${by}$" if by else "--", "$p$ (Holm)": f"${p}$" if p else "--"}


def _escaped(text: str) -> str:
    """Text outside tables; pandas escapes what is inside."""
    words = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(words.get(c, f"\\{c}" if c in "#$%&_{}" else c) for c in text)
