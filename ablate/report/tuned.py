"""The part of the page on tuned rows: what tuning changed, with which values, and whether the trials were enough."""

from __future__ import annotations

from ablate.analysis.choices import format_value
from ablate.analysis.lines import Line
from ablate.analysis.results import Results
from ablate.analysis.tuned import Tuned, one_step, tuned, worse
from ablate.core.formats import number
from ablate.report.markdown import escape, table

EDGE = "⚠"
READING = """Every row was tuned alike: the same search, the same number of trials, on seeds that are not reported.
Comparisons of tuned rows are with their tuned base. "Best of k" is the expected lowest FID of k trials (Dodge et al.
2019): where it still falls in the last column, more trials would help. A trial that was pruned, diverged or failed
counts there as the highest FID that the row's trials have. Trials have their own seeds and budget, so their FIDs do not
compare with those of the rows."""
HARMED = """What was best in their trials is not the best of the whole run, so a comparison of these rows is one of the
values found, not of the best ones. Trials with more of the images, or on more seeds, choose better."""
OVER_BUDGETS = """ One study tunes a row for all budgets: its trials have the share of the profile's images that stands
above, so its values may not be the best at another number of images."""


def part(results: Results) -> list[str]:
    """Heading, settings, table and how to read it; empty where the file has no `tune`."""
    rows, settings = tuned(results), results.experiment.tuning
    if not rows or not settings:
        return []
    tune = settings.tune
    most = max(row.trials for row in rows)
    shares = sorted({k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k < most} | {most})
    headings = ["row", "FID, 1 step", "tuned", "ratio", "tuned values", *(f"best of {k}" for k in shares)]
    body = table(headings, [line for row in rows for line in _lines(row, results, shares)], left=1)
    searched = ", ".join(f"{name} {_range(values)}" for name, values in tune.space.items())
    seeds = f"seed{'s' if len(tune.seeds) > 1 else ''} {', '.join(map(str, tune.seeds))}"
    head = (
        f"Search: {escape(searched)}; {most} trials a row on {seeds}, with {100 * tune.images:.3g} % of the "
        "profile's images."
    )
    marked = (
        f"{EDGE} marks a best value within 5 % of an end of the search, or with no trial beyond it: a wider search, or "
        "more trials, may have a better one."
        if any(row.edges for row in rows)
        else ""
    )
    return [
        "## Tuned rows",
        head,
        body,
        f"{warned} {HARMED}" if (warned := harmed(results)) else "",
        marked,
        _drawn(rows),
        READING + OVER_BUDGETS * bool(results.experiment.budgets),
    ]


def _drawn(rows: list[Tuned]) -> str:
    """Which rows have no trial with the values that the file gives them; empty where all have."""
    names = [escape(row.label) for row in rows if row.without_own]
    if not names:
        return ""
    return (
        f"The first trial of a row has the row's own values. The search does not have those of {', '.join(names)}, so "
        "all trials there are the sampler's: tuning can end above the row as it is."
    )


def harmed(results: Results) -> str:
    """Which rows have a higher FID with their tuned values than without; empty where none has."""
    names = worse(results)
    if not names:
        return ""
    rows = f"{len(names)} tuned row{'s have' if len(names) > 1 else ' has'}"
    return f"**{rows} a higher mean FID than the same row without tuning**: {escape(', '.join(names))}."


def _lines(row: Tuned, results: Results, shares: list[int]) -> list[list[str]]:
    """A line for each budget; the first has what came out of the study, which is the same for all."""
    expected = [row.expected(k) for k in shares]
    study = [_values(row), *(number(value) if value is not None else "-" for value in expected)]
    found = [_compared(before, after, results) for before, after in row.lines]
    return [[*of, *(study if not i else [""] * len(study))] for i, of in enumerate(found)]


def _compared(line: Line, tuned: Line | None, results: Results) -> list[str]:
    """A row's FID as the file has it and tuned, and their ratio."""
    before, after = one_step(line, results), one_step(tuned, results)
    ratio = f"{after.mean / before.mean:.2f}" if before and after and before.mean > 0 else "-"
    return [escape(line.row.named), str(before or "-"), str(after or "-"), ratio]


def _values(row: Tuned) -> str:
    """The best values, or how far the trials are."""
    found = row.found
    if not found or not found.complete:
        return f"{len(found.ended) if found else 0} of {row.trials} trials"
    if not found.best:
        return "no trial is complete"
    edges = row.edges
    return ", ".join(
        escape(f"{k}={format_value(v)}") + (f" {EDGE}" if k in edges else "")
        for k, v in found.best.params.items()
    )


def _range(values: object) -> str:
    if not isinstance(values, dict):
        return str(values)
    more = [", logarithmic"] if values.get("log") else []
    more += [f", in steps of {values['step']}"] if values.get("step") else []
    return f"from {values['low']} to {values['high']}" + "".join(more)
