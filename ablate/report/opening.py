"""The first sentence of a page: what the records say, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ablate.analysis.frame import Column
from ablate.analysis.lines import Line, counted, distinct
from ablate.analysis.results import Results
from ablate.analysis.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED, UNTESTED, Verdict
from ablate.core.formats import count, number
from ablate.report.markdown import escape
from ablate.statistics.effect import Sample, compare
from ablate.statistics.significance import ALPHA

NAMED = 3  # rows of equal FID that are named, not counted
TIMES = 10  # a factor from which on `82 times lower` is easier to read than `98.8 % below`


def sentence(results: Results) -> str:
    """The lowest FID, how far it lies from the first row's, how many cells are open, and how the claims stand."""
    ends = Counter((record or {}).get("state", "missing") for record in results.records.values())
    shown = results.of_most_images
    first = min((c.nfe for c in shown.measured), default=0)
    found = [found for c in shown.measured if c.nfe == first and (found := _lowest(shown, results, c))]
    if not found:
        states = counted(ends, finished="finished without one")
        return f"No row has a FID yet: {count(ends.total(), 'cell')}, {states}."
    parts = " and ".join(found) + (": FIDs of different columns do not compare" if len(found) > 1 else "")
    parts += f" at {_images(shown)}" if results.tracks else ""
    still = ends["missing"] + ends["failed"]
    begin = f"After {ends.total() - still:,} of {count(ends.total(), 'cell')}, the" if still else "The"
    return "; ".join([f"{begin} {parts}", *verdict_counts(results.verdicts)]) + "."


def _images(results: Results) -> str:
    """`1,280 images`; where cells read others, the images of both count, and rows may have unequally many."""
    experiment = results.experiment
    totals = sorted({experiment.cells[key].images_in_all for row in experiment.rows for key in row.keys[:1]})
    return f"{' to '.join(f'{n:,}' for n in dict.fromkeys((totals[0], totals[-1])))} images"


def _lowest(results: Results, page: Results, column: Column) -> str:
    """`lowest one-step FID of 5 rows is 19.4 (ict), 80 % below ct`; empty where a column has none."""
    measured = [(x, s.mean) for x in distinct(results.lines) if (s := x.stat("fid", column))]
    whole = [entry for entry in measured if entry[0].whole] or measured  # as for bold numbers
    if not whole:
        return ""
    value = min(mean for _, mean in whole)
    best = [line for line, mean in whole if mean == value]
    steps = {1: "one-step", 2: "two-step"}.get(column.nfe, f"{column.nfe}-step")
    lowest = f"lowest {steps} FID of {len(measured)} rows" if len(measured) > 1 else f"{steps} FID"
    lost = "" if best[0].whole else " from seeds that did not diverge or fail"
    by = f" by {escape(column.by)}" if column.measured_differently and column.by else ""
    return f"{lowest}{by} is {number(value)} ({_rows(best)}){lost}{_against(results, page, best, column)}"


def _rows(lines: Sequence[Line]) -> str:
    labels = [escape(line.row.label) for line in lines]
    if len(labels) > NAMED:
        return f"{len(labels)} rows"
    return " and ".join([", ".join(labels[:-1]), labels[-1]] if labels[1:] else labels)


def _against(results: Results, page: Results, best: Sequence[Line], column: Column) -> str:
    """How far the lowest mean lies below that of the table's first row, tuned if that is, and whether seeds show it.

    Args:
        page: the results of all budgets.
    """
    lowest = best[0]
    first = next(line for line in results.lines if bool(line.row.tuned) == bool(lowest.row.tuned))
    there, here = first.stat("fid", column), lowest.stat("fid", column)
    if not there or not here or not 0 < here.mean < there.mean:
        return ""
    factor, share = there.mean / here.mean, 100 * (1 - here.mean / there.mean)
    digits = 0 if share >= 1 else 2
    far = f"{factor:.3g} times lower than" if factor >= TIMES else f"{share:.{digits}f} % below"
    unsure = " (not significant)" if _p(results, page, lowest, first, column) > ALPHA else ""
    unsure = " (one seed)" if min(here.n, there.n) == 1 else unsure
    return f", {far} {escape(first.row.label)}{unsure}"


def _p(results: Results, page: Results, lowest: Line, first: Line, column: Column) -> float:
    """The table's p where it has this comparison, else the test's times the rows among which this is the lowest."""
    how = column.measured_differently
    pair = Sample(lowest.index, column.nfe), Sample(first.index, column.nfe)
    scores = {sample: {how: found.get(how, {})} for sample, found in results.scores.items()}
    tested = compare([pair], scores)
    if tested is None:
        return 1.0
    rows, sides = page.experiment.rows, {lowest.row.keys, first.row.keys}
    for row, versus in zip(rows, page.versus, strict=True):
        # equal rows count as one; another column has another p
        if versus and {row.keys, rows[versus.base].keys} == sides and versus.effect.p == tested.p:
            return versus.corrected
    others = sum(line.stat("fid", column) is not None for line in distinct(results.lines)) - 1
    return min(1.0, others * tested.p)


def verdict_counts(verdicts: Iterable[Verdict]) -> list[str]:
    """`3 of 4 claims are supported, 1 is undecided`; nothing without claims."""
    states = Counter(verdict.state for verdict in verdicts)
    if not states:
        return []
    total = states.total()
    if len(states) == 1 or total == 1:
        (state,) = states
        whole = {1: "the claim is", 2: "both claims are"}.get(total, f"all {total} claims are")
        return [f"{whole} {state}"]
    order = [state for state in (SUPPORTED, CONTRADICTED, UNDECIDED, UNTESTED) if states[state]]
    head, *rest = [(state, states[state]) for state in order]
    first = f"{head[1]} of {total} claims {'is' if head[1] == 1 else 'are'} {head[0]}"
    return [", ".join([first, *(f"{n} {'is' if n == 1 else 'are'} {state}" for state, n in rest)])]
