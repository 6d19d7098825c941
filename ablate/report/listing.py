"""Every row once more: what differs, how often it beats its base, what a cell costs, its keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ablate.analysis import aggregate
from ablate.analysis.choices import format_value
from ablate.analysis.lines import Line
from ablate.analysis.results import Results
from ablate.core.formats import count, duration
from ablate.report.markdown import escape, table
from ablate.statistics.bootstrap import Estimate, pair_improvement
from ablate.statistics.wording import ratios

MOST = 6  # fields that a row names


def listing(results: Results) -> str:
    """A line per row."""
    headings = ["row", "what differs", "against", "a run beats the base's", "time per cell", "keys"]
    rows = [
        [
            escape(line.row.named),
            escape(_differs(line.row.changed)),
            escape(line.row.base) if line.row.changed else "-",
            _beats(line, results),
            duration(line.seconds) if line.seconds else "-",
            " ".join(line.row.keys),
        ]
        for line in results.lines
    ]
    return table(headings, [*rows, *_read(results)], left=len(headings))


def _read(results: Results) -> list[list[str]]:
    """A line for the cells that those of a row read."""
    labels, found = results.experiment.labels(), dict[str, list[str]]()
    for key in results.experiment.needed:
        found.setdefault(labels[key], []).append(key)
    lines = []
    for label, keys in found.items():
        records = (results.store.record(key) or {} for key in keys)
        seconds = [record["wall_s"] for record in records if record.get("wall_s")]
        taken = duration(sum(seconds) / len(seconds)) if seconds else "-"
        lines.append([escape(label), "-", "-", "-", taken, " ".join(keys)])
    return lines


def _differs(changed: Any) -> str:
    fields = [f"{field} {format_value(value)}" for field, value in changed.items()]
    more = [f"and {len(fields) - MOST} more fields"] if len(fields) > MOST else []
    return ", ".join(fields[:MOST] + more) or "-"


def _beats(line: Line, results: Results) -> str:
    versus = results.versus[line.index]
    pair = aggregate.scores_of(line.index, versus, results.scores) if versus else None
    probability = pair_improvement(*pair) if pair else None
    return "-" if probability is None else f"{probability:.2f}"


def together(results: Results, group: Sequence[int]) -> str:
    """A sentence about all rows of a section that share a base; empty for a ladder, whose rows have a base each."""
    sentences = []
    for base, *rows in aggregate.section(group, results.versus, results.scores):
        mean, middle, beats = aggregate.together([base, *rows], results.versus, results.scores)
        label = escape(results.experiment.rows[base].named)
        sentences.append(
            f"All {count(len(rows), 'row')} against {label}: FID changes by {_ratio(mean)} in the mean over rows and "
            f"by {_ratio(middle)} in the interquartile mean over runs; a run of these rows has a lower FID than a run "
            f"of {label} with probability {beats[0]:.2f} [{beats[1]:.2f}, {beats[2]:.2f}]."
        )
    return " ".join(sentences)


def _ratio(estimate: Estimate) -> str:
    value, low, high = ratios(*estimate)
    return f"{value} [{low}, {high}]"
