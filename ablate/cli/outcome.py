"""What a terminal shows of an experiment's results: a line per row with its FIDs, and a line per claim."""

from __future__ import annotations

import io
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.core.formats import count

if TYPE_CHECKING:
    from ablate.analysis.frame import Column
    from ablate.analysis.lines import Line
    from ablate.analysis.results import Results
    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store

MOST = 40  # rows; the page has all


def of(experiment: Experiment, store: Store, folder: Path) -> str:
    """The table and the verdicts of the report in a folder."""
    from ablate.report.merged import merged

    return text(merged(experiment, store, folder))


def text(results: Results) -> str:
    """The table and the verdicts."""
    return "\n".join(filter(None, [table(results), verdicts(results)]))


def table(results: Results, width: int | None = None) -> str:
    """FID at one and two steps, the change of one-step FID against the row's base, and seeds.

    Args:
        width: of the terminal; by default of this one.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ablate.analysis.lines import lowest

    columns, shown = [c for c in results.measured if c.nfe <= 2], lowest(results.lines, MOST)
    made = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    made.add_column("row", overflow="fold", min_width=12)
    for column in columns:
        made.add_column(Text(_heading(column)), justify="right", overflow="fold")
    made.add_column("change, 1 step", justify="right", overflow="fold", no_wrap=True)
    made.add_column("seeds", justify="right", overflow="fold")
    for line in shown:
        fids = [str(line.stat("fid", column) or "-") for column in columns]
        seeds = f"{line.n} ({line.lost})" if line.lost else str(line.n)
        made.add_row(Text(line.row.named), *fids, _change(line, results), seeds)
    console = Console(
        file=io.StringIO(), width=width or shutil.get_terminal_size((100, 24)).columns, color_system=None
    )
    console.print(made)
    left = len(results.lines) - len(shown)
    more = [f"{count(left, 'row')} with higher FIDs are on the page"] if left else []
    more += [f"FID by {by}" for by in dict.fromkeys(c.by for c in columns if c.by)]
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join([*(line.rstrip() for line in text.splitlines() if line.strip()), *more])


def verdicts(results: Results) -> str:
    """A line per claim: its verdict, what was seen, and what would decide an open one."""
    from ablate.analysis.seeds_needed import seeds_needed
    from ablate.core import hint

    lines = []
    for v in results.verdicts:
        needed = seeds_needed(results, v)
        run = hint.command("run", *needed.words, keep=(hint.RUNS, hint.REPORTS)) if needed else ""
        lines.append(f"{v.claim.id}: {v.state}: {v.because}" + (f"; {needed.text(run)}" if needed else ""))
    return "\n".join(lines)


def _heading(column: Column) -> str:
    steps = "2 steps" if column.nfe == 2 else "1 step"
    return f"FID {steps}" + (f" ({column.measured_differently})" if column.measured_differently else "")


def _change(line: Line, results: Results) -> str:
    from ablate.statistics.wording import change

    versus = results.versus[line.index]
    if not versus or math.isnan(versus.effect.ratio):
        return "-"
    return change(versus.effect)
