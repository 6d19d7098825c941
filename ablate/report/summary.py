"""All claims of several experiment files over all profiles that have records: a row per claim, a column per profile."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.analysis import sequential
from ablate.analysis.agreement import agreement
from ablate.analysis.results import Results
from ablate.analysis.verdicts import Verdict
from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.core.files import atomic_write
from ablate.planning import planner
from ablate.planning.experiment import Experiment
from ablate.report.html import page
from ablate.report.markdown import table
from ablate.runs.store import Store
from ablate.statistics.wording import probability

Answers = dict[str, dict[str, Verdict]]  # claim -> profile -> verdict

READING = """A verdict holds at 5 % over the claims of its experiment, with Holm's correction, and over all interim
analyses where seeds were added. n is the number of seeds. Undecided does not mean no: these seeds are not enough to
tell. Where several experiments make a claim, you see the answer from the most seeds; from as many seeds, the less
certain one."""

ORDERS = """How two profiles order an experiment's rows by mean one-step FID: 1 is the same order, -1 the reverse
order. p tests for no agreement; it is not corrected for the number of lines."""


def summary(
    files: Sequence[Path],
    runs: Path,
    reports: Path,
    overrides: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
) -> Path:
    """Write `summary.md` and `summary.html` from what is recorded.

    Args:
        files: experiment files; those without claims are skipped.
        overrides, seeds: those that the experiments were run with.
    Returns:
        The Markdown file.
    Raises:
        SpecError: errors in a file, no claims, or no records.
    """
    options = {"overrides": overrides, "seeds": seeds}
    found, says = _answered(files, runs, options)
    if not says:
        raise SpecError("no claims in " + (", ".join(map(str, files)) or "no files"))
    profiles = list(dict.fromkeys(p for of in found.values() for p in of))
    if not profiles:
        raise SpecError(f"--runs-dir {runs}: no records of these experiments")
    rows = [
        [name, says[name], *(_state(found.get(name, {}).get(p)) for p in profiles)]
        for name in sorted(says, key=_order)
    ]
    body = table(["", "claim", *profiles], rows, left=2 + len(profiles))
    details = [
        [name, p, of[p].state, probability(of[p].p), of[p].because]
        for name, of in sorted(found.items(), key=lambda entry: _order(entry[0]))
        for p in of
    ]
    evidence = table(["", "profile", "verdict", "p (Holm)", "what was seen"], details, left=5)
    parts = [
        "# Claims",
        READING,
        "## Verdicts",
        body,
        "## Evidence",
        evidence,
        *_agreed(files, runs, options),
    ]
    text = "\n\n".join(parts) + "\n"
    reports.mkdir(parents=True, exist_ok=True)
    for name, content in (("summary.md", text), ("summary.html", page("Claims", text, reports))):
        with atomic_write(reports / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return reports / "summary.md"


def _answered(files: Sequence[Path], runs: Path, options: dict[str, Any]) -> tuple[Answers, dict[str, str]]:
    found, says = dict[str, dict[str, Verdict]](), dict[str, str]()
    for file in files:
        if "claims" not in yaml_files.mapping(yaml_files.read(file), str(file)):
            continue
        own = planner.load(file, **options)
        says |= {claim.id: claim.says for claim in own.claims}
        for name in dict.fromkeys([own.profile.name, *yaml_files.named("profiles")]):
            for verdict in _of(file, name, own, runs, options):
                known = found.setdefault(verdict.claim.id, {})
                known[name] = max(known.get(name, verdict), verdict, key=lambda v: (v.n, v.p))
    return found, says


def _of(file: Path, profile: str, own: Experiment, runs: Path, options: dict[str, Any]) -> list[Verdict]:
    """A file's verdicts on a profile; none where its data are missing or nothing is recorded."""
    experiment = own if profile == own.profile.name else _planned(file, profile, options)
    if experiment is None or not _recorded(experiment, runs):
        return []
    return _results(experiment, runs).verdicts


def _planned(file: Path, profile: str, options: dict[str, Any]) -> Experiment | None:
    """A file on a profile; None where its data are missing."""
    try:
        return planner.load(file, profile, **options)
    except SpecError:
        return None


def _results(experiment: Experiment, runs: Path) -> Results:
    """An experiment's results, including the seeds that were added for its claims."""
    return Results(sequential.recorded(experiment, runs), Store(runs))


def _recorded(experiment: Experiment, runs: Path) -> bool:
    """Whether a cell of the experiment has a record."""
    return any((runs / key / "record.json").exists() for key in experiment.cells)


def _agreed(files: Sequence[Path], runs: Path, options: dict[str, Any]) -> list[str]:
    """How far each pair of profiles agrees on the order of a file's rows; empty where only one has records."""
    rows = list[list[str]]()
    for file in files:
        if "plan" not in yaml_files.mapping(yaml_files.read(file), str(file)):
            continue
        tables = {p: e for p in yaml_files.named("profiles") if (e := _planned(file, p, options))}
        means = {p: _results(e, runs).row_means() for p, e in tables.items() if _recorded(e, runs)}
        for a, b in itertools.combinations(means, 2):
            if agreed := agreement(means[a], means[b]):
                best = "the same" if agreed.same_best else "another"
                numbers = [f"{agreed.tau:.2f}", probability(agreed.p), str(agreed.rows)]
                rows.append([file.stem, f"{a}, {b}", *numbers, best])
    if not rows:
        return []
    body = table(["experiment", "profiles", "Kendall's tau", "p", "rows", "lowest row"], rows, left=2)
    return ["## Does a small table predict a large one?", ORDERS, body]


def _state(verdict: Verdict | None) -> str:
    return f"{verdict.state} (n={verdict.n})" if verdict else "-"


def _order(name: str) -> tuple[int, str]:
    number = re.search(r"\d+", name)
    return int(number[0]) if number else 10**6, name
