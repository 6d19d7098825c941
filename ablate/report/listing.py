"""Every row once more: what differs, whether one run of it beats one of its base, what a cell costs, its keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ablate.analysis import aggregate
from ablate.analysis.choices import shown
from ablate.analysis.lines import Line
from ablate.analysis.verdicts import Table, Versus
from ablate.analysis.wording import percent
from ablate.core.formats import count, duration
from ablate.report.markdown import table

if TYPE_CHECKING:
    from ablate.planning.experiment import Experiment

MOST = 6  # fields that a row names


def listing(lines: Sequence[Line], versus: Sequence[Versus | None], scores: Table) -> str:
    """A line per row."""
    headings = ["row", "what differs", "against", "a run beats the base's", "time of a cell", "keys"]
    rows = [
        [
            line.row.label,
            _differs(line.row.changed),
            line.row.base if line.row.changed else "-",
            _beats(line, versus[line.index], scores),
            duration(line.seconds) if line.seconds else "-",
            " ".join(line.row.keys),
        ]
        for line in lines
    ]
    return table(headings, rows, left=len(headings))


def _differs(changed: Any) -> str:
    told = [f"{field} {shown(value)}" for field, value in changed.items()]
    more = [f"and {len(told) - MOST} fields more"] if len(told) > MOST else []
    return ", ".join(told[:MOST] + more) or "-"


def _beats(line: Line, versus: Versus | None, scores: Table) -> str:
    pair = aggregate.scores_of(line.index, versus, scores) if versus else None
    found = aggregate.pair_improvement(*pair) if pair else None
    return "-" if found is None else f"{found:.2f}"


def together(
    experiment: Experiment, group: Sequence[int], versus: Sequence[Versus | None], scores: Table
) -> str:
    """A sentence on all rows of a section that have one base; a ladder's rows have one each, and so none."""
    told = []
    for base, *rows in aggregate.section(group, versus, scores):
        mean, middle, beats = aggregate.together([base, *rows], versus, scores)
        told.append(
            f"All {count(len(rows), 'row')} against {experiment.rows[base].label}: FID {_ratio(mean)} in the mean "
            f"over rows, {_ratio(middle)} in the middle half of all runs; a run of them is below one of "
            f"{experiment.rows[base].label} with probability {beats[0]:.2f} [{beats[1]:.2f}, {beats[2]:.2f}]."
        )
    return " ".join(told)


def _ratio(estimate: aggregate.Estimate) -> str:
    value, low, high = map(percent, estimate)
    return f"{value} [{low}, {high}]"
