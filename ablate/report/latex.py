r"""`table.tex`: a booktabs table per section; it needs `\usepackage{booktabs}` and nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from ablate.analysis.frame import Column, columns
from ablate.analysis.lines import Line, best, groups, title
from ablate.analysis.results import Results
from ablate.analysis.verdicts import Versus, of_budget
from ablate.core.formats import number
from ablate.statistics.wording import probability, ratios


def latex(results: Results) -> str:
    """The tables, each with caption and label."""
    sections = groups(results.experiment.rows)
    tables = [_table(results, group, at) for at, group in enumerate(sections, 1)]
    return "\n".join(["% \\usepackage{booktabs}", *tables])


def _table(results: Results, group: Sequence[int], at: int) -> str:
    """A section; bold is the lowest mean, an approximate sign marks those not significantly different from it."""
    import pandas as pd

    experiment, shown = results.experiment, columns(results.frame)
    lines = [results.lines[i] for i in group]
    scores = of_budget(experiment, results.scores, lines[0].row.budget)
    lowest = {c: best(lines, c, scores) for c in shown}
    rows = [
        {"Row": _cell(line.row.label)}
        | {_heading(c, shown): _fid(line, c, *lowest[c]) for c in shown}
        | _change(results.versus[line.index])
        for line in lines
    ]
    table = pd.DataFrame(rows)
    heading = escape(title([line.row for line in lines]))
    caption = f"{escape(experiment.name)}: {heading}. FID, mean $\\pm$ standard deviation over seeds; "
    caption += "bold is the lowest mean, $\\approx$ what is not significantly different from it."
    return str(
        table.style.hide(axis="index").to_latex(
            hrules=True,
            column_format="l" + "r" * (len(table.columns) - 1),
            caption=caption,
            label=f"tab:{experiment.name}-{at}",
            position="t",
        )
    )


def _heading(column: Column, shown: Sequence[Column]) -> str:
    plain = f"FID, {column.nfe} step{'s' if column.nfe > 1 else ''}"
    alone = sum(c.nfe == column.nfe for c in shown) == 1
    return plain if alone else f"{plain} ({escape(column.measured_differently)})"


def _fid(line: Line, column: Column, lowest: set[int], alike: set[int]) -> str:
    stat = line.stat("fid", column)
    if stat is None:
        return next((state for state in ("diverged", "failed") if line.states[state]), "--")
    mean = number(stat.mean).replace(",", "{,}")
    mean = f"\\mathbf{{{mean}}}" if line.index in lowest else mean
    mean = f"\\approx {mean}" if line.index in alike else mean
    return f"${mean} \\pm {number(stat.std).replace(',', '{,}')}$" if stat.n > 1 else f"${mean}$"


def _change(versus: Versus | None) -> dict[str, str]:
    by, p = "", ""
    if versus and not math.isnan((pair := versus.effect).ratio):
        by = ratios(pair.ratio)[0].replace("%", "\\%").replace("×", "\\times ")
    if versus and versus.effect.n > 1:
        p = probability(versus.corrected).replace("<", "< ")
    return {"Change": f"${by}$" if by else "--", "$p$ (Holm)": f"${p}$" if p else "--"}


def _cell(text: str) -> str:
    """Text that begins a row: a bracket or star there would belong to the line break before it."""
    return ("{}" if text[:1] in ("[", "*") else "") + escape(text)


def escape(text: str) -> str:
    """`text` letter by letter, as far as the fonts have its letters."""
    return re.sub("--+", lambda dashes: "{}".join(dashes[0]), "".join(WORDS.get(c, c) for c in text))


WORDS = {c: f"\\{c}" for c in "#$%&_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
}
