"""The result tables of a page: one per section, a line per row."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ablate.analysis.frame import Column
from ablate.analysis.lines import Line, best, title
from ablate.analysis.reference import Methods, Published
from ablate.analysis.results import Results
from ablate.analysis.verdicts import Versus
from ablate.core.formats import number
from ablate.report.markdown import Footnotes, escape, paragraph, table
from ablate.statistics.wording import interval, percent, probability


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
        self.columns, self.notes = columns, notes
        self.protocol = methods.reference.protocol if methods else None
        self.published = [methods.of(row) if methods else {} for row in self.experiment.rows]

    def section(self, group: Sequence[int]) -> list[str]:
        """Heading, a sentence and the table of the rows in `group`."""
        bold = {column: best([self.lines[i] for i in group], column) for column in self.columns}
        paper = any(self.published[i] for i in group)
        headings = [
            "row",
            *(c.heading for c in self.columns),
            "change, 1 step",
            "p (Holm)",
            "seeds to decide",
            "n",
            *(["paper"] if paper else []),
        ]
        rows = [self._row(i, bold) + ([self._paper(i)] if paper else []) for i in group]
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
        return f"Each change is relative to the row's base ({named}), if the experiment has that row."

    def _row(self, i: int, bold: dict[Column, set[int]]) -> list[str]:
        line = self.lines[i]
        fids = [self._fid(line, column, i in bold[column]) for column in self.columns]
        return [escape(line.row.label), *fids, *self._change(self.versus[i]), self._seeds(line)]

    @staticmethod
    def _change(versus: Versus | None) -> list[str]:
        """The change against the base, its p, and the seeds that would make it significant."""
        if versus is None:
            return ["-", "-", "-"]
        pair = versus.paired
        lost = f"{pair.lost} of {pair.n} diverged" if pair.lost else ""
        by = percent(pair.ratio) + interval(pair) if pair.n > pair.lost else ""
        if pair.n < 2:
            return [", ".join(filter(None, [by, lost])), "-", "-"]
        p = probability(versus.corrected)
        seeds = str(versus.seeds) if versus.seeds else "-" if pair.lost else ">100"
        rest = [f"**{p}**", "-"] if versus.decided else [p, seeds]
        return [", ".join(filter(None, [by, lost])), *rest]

    def _fid(self, line: Line, column: Column, bold: bool) -> str:
        stat = line.stat("fid", column)
        if stat is None:
            return self._absent(line)
        mean = f"**{number(stat.mean)}**" if bold else number(stat.mean)
        return f"{mean} ± {number(stat.std)}" if stat.n > 1 else mean

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
        return "not run" if line.states["missing"] else "-"

    def _seeds(self, line: Line) -> str:
        """How many seeds entered the means, and how the others ended."""
        words = {"diverged": "diverged", "failed": "failed", "missing": "not run"}
        lost = [f"{line.states[state]} {word}" for state, word in words.items() if line.states[state]]
        return f"{line.n} ({', '.join(lost)})" if line.n and lost else str(line.n)

    def _paper(self, i: int) -> str:
        numbers = self.published[i]
        if not numbers:
            return "-"
        fids = " / ".join(f"{p.fid:.2f}" for _, p in sorted(numbers.items()))
        return f"{next(iter(numbers.values())).method} {fids}" + self.notes(self._compared(i, numbers))

    def _compared(self, i: int, numbers: dict[int, Published]) -> str:
        """The source of a published number, and how its measurement differs from this table's."""
        first, flat = next(iter(numbers.values())), self.lines[i].row.recipe.flat()
        steps = " / ".join(f"{nfe}" for nfe in sorted(numbers))
        but = ", ".join(f"{k} {v} instead of {flat.get(k)}" for k, v in first.but.items() if flat.get(k) != v)
        text = f"{first.method} on {first.dataset} as published, at {steps} steps ({first.source})."
        differing = "; ".join([*self._otherwise(first), *([f"the published run has {but}"] if but else [])])
        return f"{text} Not comparable with this table: {differing}." if differing else text

    def _otherwise(self, published: Published) -> list[str]:
        """How this table differs from a published number."""
        profile, found = self.experiment.profile, []
        if profile.data.name.replace("-", "") != published.dataset.lower().replace("-", ""):
            found.append(f"this table uses {profile.data.name}")
        seen = (published.batch or 0) * (published.steps or 0)
        if seen and profile.images != seen:
            found.append(f"it trains on {profile.images:,} images instead of {seen:,}")
        return [*found, *self._measure(), *self._adapted()]

    def _measure(self) -> list[str]:
        e, p, by = self.experiment.profile.evaluation, self.protocol, [c.by for c in self.columns if c.by]
        ours = " and ".join(dict.fromkeys(by)) or f"{e.extractor}, n={e.samples}"
        there = f"{p.extractor}, n={p.samples} against {p.against}" if p else "another protocol"
        return [f"its FID uses {ours} against held-out images, the published one {there}"]

    def _adapted(self) -> list[str]:
        """The fields of a recipe that the profile sets."""
        fields = ", ".join(self.experiment.profile.adapt)
        return [f"profile {self.experiment.profile.name} sets {fields}"] if fields else []
