"""The result tables of a page: one per section, a line per row."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ablate.analysis.choices import format_value
from ablate.analysis.frame import Column
from ablate.analysis.lines import LOST, Line, best, lowest_first, title
from ablate.analysis.reference import Methods, Numbers, Published
from ablate.analysis.results import Results
from ablate.analysis.verdicts import Versus, of_budget
from ablate.core.formats import count, number
from ablate.report.markdown import Footnotes, escape, paragraph, table
from ablate.statistics.wording import change, probability

if TYPE_CHECKING:
    from ablate.planning.cells import Row

SHOWN = 20  # rows of a factorial's table


class Sections:
    """Sections of a page.

    Args:
        columns: the columns of FID.
        methods: the published methods, None without a reference file.
        notes: the page's footnotes, which the tables add to.
    """

    def __init__(
        self, results: Results, columns: Sequence[Column], methods: Methods | None, notes: Footnotes
    ):
        self.experiment, self.lines, self.versus = results.experiment, results.lines, results.versus
        self.columns, self.notes, self.scores = columns, notes, results.scores
        self.protocol = methods.reference.protocol if methods else None
        self.published = [methods.of(row) if methods else [] for row in self.experiment.rows]

    def section(self, group: Sequence[int]) -> list[str]:
        """Heading, a sentence and the table of the rows in `group`.

        Published numbers have a column where the table measures as the paper does, or where it mirrors one of the
        paper's: two rows of one source. Else they are a footnote.
        """
        shown = [self.lines[i] for i in group]
        scores = of_budget(self.experiment, self.scores, shown[0].row.budget)
        lowest = {column: best(shown, column, scores) for column in self.columns}
        paper = any(self._alike(i) for i in group) or self._mirrors(group)
        headings = [
            "row",
            *(c.heading for c in self.columns),
            "change, 1 step",
            "p (Holm)",
            "seeds to decide",
            "seeds",
            *(["paper"] if paper else []),
        ]
        if shown[0].row.section == "factorial":
            shown = lowest_first(shown)[:SHOWN]
        rows = [self._row(line.index, lowest, paper) for line in shown]
        heading = escape(title([self.experiment.rows[i] for i in group]))
        return [f"## {heading}", self._against(group), table(headings, rows)]

    def _against(self, group: Sequence[int]) -> str:
        """The base of a section's changes."""
        rows = [self.experiment.rows[i] for i in group]
        if rows[0].section == "ladder":
            return "Each row is the row above with one axis changed."
        if rows[0].section == "leave_one_out":
            return f"Each row is {escape(rows[0].label)} with one axis changed."
        named = " and ".join(dict.fromkeys(escape(r.base) for r in rows))
        against = f"Each change is relative to the row's base ({named}), if the experiment has that row."
        if rows[0].section == "factorial":
            most = f", the {SHOWN} lowest of {len(rows):,}; `table.csv` has all" if len(rows) > SHOWN else ""
            return f"{against} Rows are sorted by their mean one-step FID{most}."
        return against

    def _row(self, i: int, lowest: dict[Column, tuple[set[int], set[int]]], paper: bool) -> list[str]:
        line = self.lines[i]
        fids = [self._fid(line, column, *lowest[column]) for column in self.columns]
        cells = [*fids, *self._change(self.versus[i]), self._seeds(line)]
        name = _named(line.row) + self._unstable(line)
        if paper:
            return [name, *cells, self._paper(i)]
        return [name + "".join(self.notes(self._compared(i, n)) for n in self.published[i]), *cells]

    def _unstable(self, line: Line) -> str:
        """A note to a row whose seeds spread more than its base's."""
        versus = self.versus[line.index]
        if versus is None or not versus.unstable or versus.spread is None:
            return ""
        times, total = versus.spread, sum(line.states.values())
        lost = f"; {line.states['diverged']} of {total} seeds diverged" if line.states["diverged"] else ""
        words = f"the standard deviation of log FID is {times.ratio:.3g} times that of its base"
        return self.notes(
            f"Unstable: {words} [{times.low:.3g}, {times.high:.3g}], p = {probability(versus.spread_p)}{lost}."
        )

    def _alike(self, i: int) -> bool:
        """Whether a row's published numbers are of the same images, measured the same way."""
        e, p = self.experiment.profile.evaluation, self.protocol
        if not p or (e.extractor, e.samples) != (p.extractor.lower(), p.samples):
            return False
        return any(not self._otherwise_named(_first(numbers)) for numbers in self.published[i])

    def _mirrors(self, group: Sequence[int]) -> bool:
        """Whether one source has numbers of two rows."""
        found = dict[str, set[tuple[str, ...]]]()
        for i in group:
            for numbers in self.published[i]:
                found.setdefault(_first(numbers).source, set()).add(self.experiment.rows[i].keys)
        return any(len(rows) > 1 for rows in found.values())

    @staticmethod
    def _change(versus: Versus | None) -> list[str]:
        """The change against the base, its p, and the seeds that would make it significant."""
        if versus is None:
            return ["-", "-", "-"]
        pair = versus.effect
        lost = count(pair.lost, "run") + " diverged" if pair.lost else ""
        by = change(pair) if not math.isnan(pair.ratio) else ""
        if pair.n < 2:
            return [", ".join(filter(None, [by, lost])), "-", "-"]
        p = probability(versus.corrected)
        seeds = str(versus.seeds) if versus.seeds else "-" if pair.lost else ">100"
        rest = [f"**{p}**", "-"] if versus.decided else [p, seeds]
        return [", ".join(filter(None, [by, lost])), *rest]

    def _fid(self, line: Line, column: Column, lowest: set[int], alike: set[int]) -> str:
        stat = line.stat("fid", column)
        if stat is None:
            return self._absent(line)
        mean = f"**{number(stat.mean)}**" if line.index in lowest else number(stat.mean)
        mean = f"≈ {mean}" if line.index in alike else mean
        return mean + stat.plus_minus

    def _absent(self, line: Line) -> str:
        """Why a row has no number in a column."""
        reasons = {state: reason for state, reason in reversed(line.reasons)}
        if line.states["diverged"]:
            reason = reasons.get("diverged", "")
            step = re.search(r"step (\d+)", reason)
            return (
                f"diverged (step {step[1]})"
                if step
                else f"diverged ({escape(reason)})"
                if reason
                else "diverged"
            )
        if line.states["failed"]:
            return "failed" + (self.notes(paragraph(reasons["failed"])) if "failed" in reasons else "")
        return LOST["missing"] if line.states["missing"] else "-"

    def _seeds(self, line: Line) -> str:
        """How many seeds entered the means, and how the others ended."""
        return f"{line.n} ({line.lost})" if line.n and line.lost else str(line.n)

    def _paper(self, i: int) -> str:
        found = (
            f"{_first(n).method} {_fids(n)}{self.notes(self._compared(i, n))}" for n in self.published[i]
        )
        return "; ".join(found) or "-"

    def _compared(self, i: int, numbers: Numbers) -> str:
        """Published numbers of a row, their source, and how their measurement differs from this table's."""
        first, flat = _first(numbers), self.lines[i].row.recipe.flat()
        steps = " / ".join(map(str, sorted(numbers))) + (" step" if [*numbers] == [1] else " steps")
        but = ", ".join(
            f"{k} {format_value(v)} instead of {format_value(flat.get(k))}"
            for k, v in first.but.items()
            if flat.get(k) != v
        )
        size = f" with {first.params_m:g} million parameters" if first.params_m else ""
        text = f"{first.method} on {first.dataset}{size} as published: FID {_fids(numbers)}, {steps} ({first.source})."
        differing = "; ".join(
            [*self._otherwise(first, self.lines[i].row), *([f"the published run has {but}"] if but else [])]
        )
        return f"{text} Not comparable with this table: {differing}." if differing else text

    def _otherwise(self, published: Published, row: Row) -> list[str]:
        """How this table differs from a published number."""
        images, found = self.experiment.profile_of(row).images, self._otherwise_named(published)
        seen = (published.batch or 0) * (published.steps or 0)
        if seen and images != seen:
            found.append(f"it trains on {images:,} images instead of {seen:,}")
        return [*found, *self._measure(), *self._adapted()]

    def _otherwise_named(self, published: Published) -> list[str]:
        name = self.experiment.profile.data.name
        same = name.replace("-", "") == published.dataset.lower().replace("-", "")
        return [] if same else [f"this table uses {name}"]

    def _measure(self) -> list[str]:
        e, p, by = self.experiment.profile.evaluation, self.protocol, [c.by for c in self.columns if c.by]
        ours = " and ".join(dict.fromkeys(by)) or f"{e.extractor}, n={e.samples}"
        there = f"{p.extractor}, n={p.samples} against {p.against}" if p else "another protocol"
        return [f"its FID uses {ours} against held-out images, the published one {there}"]

    def _adapted(self) -> list[str]:
        """The fields of a recipe that the profile sets."""
        fields = ", ".join(self.experiment.profile.adapt)
        return [f"profile {self.experiment.profile.name} sets {fields}"] if fields else []


def _first(numbers: Numbers) -> Published:
    return next(iter(numbers.values()))


def _fids(numbers: Numbers) -> str:
    return " / ".join(f"{p.fid:.2f}" for _, p in sorted(numbers.items()))


def _named(row: Row) -> str:
    """A row's label; a ladder's last row has that of a recipe, so its own change is added."""
    fields = ", ".join(f"{field}={format_value(value)}" for field, value in row.changed.items())
    last = row.section == "ladder" and fields and not row.label.startswith("+ ")
    return escape(f"{row.label} (+ {fields})" if last else row.label)
