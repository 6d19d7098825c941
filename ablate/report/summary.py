"""All claims of several experiment files over all profiles that have records: a row per claim, a column per profile."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.analysis import sequential
from ablate.analysis.agreement import agreement
from ablate.analysis.verdicts import Verdict
from ablate.analysis.wording import probability
from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.core.files import whole
from ablate.planning import planner
from ablate.planning.experiment import Experiment
from ablate.report.html import page
from ablate.report.markdown import table
from ablate.report.writer import answers, row_means
from ablate.runs.store import Store

Answers = dict[str, dict[str, Verdict]]  # claim -> profile -> verdict
READING = """A verdict holds at 5 % over the claims of its experiment, corrected by Holm, and over all looks at them
where seeds were added. n is the number of seeds. Undecided is not a no: it says that the seeds at hand do not tell.
Of a claim that several experiments make, the answer from most seeds is shown; from as many, the less sure one."""

ORDERS = """The order of an experiment's rows by mean one-step FID, on two profiles: 1 is the same order, -1 the
reverse. p is of no agreement, for each line alone."""


def summary(
    files: Sequence[Path],
    runs: Path,
    reports: Path,
    overrides: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
) -> Path:
    """Write `summary.md` and `summary.html`; nothing is trained.

    Args:
        files: experiment files; those without claims are passed over.
        overrides, seeds: with which they were run.
    Returns:
        The Markdown file.
    Raises:
        SpecError: a file has mistakes, or there are no claims, or no records.
    """
    options = {"overrides": overrides, "seeds": seeds}
    found, says = _answered(files, runs, options)
    if not says:
        raise SpecError("no claims in " + (", ".join(map(str, files)) or "no files"))
    profiles = list(dict.fromkeys(p for of in found.values() for p in of))
    if not profiles:
        raise SpecError(f"--runs-dir {runs}: no records of these experiments")
    rows = [
        [name, says[name], *(_told(found.get(name, {}).get(p)) for p in profiles)]
        for name in sorted(says, key=_order)
    ]
    body = table(["", "claim", *profiles], rows, left=2 + len(profiles))
    details = [
        [name, p, of[p].state, probability(of[p].p), of[p].because]
        for name, of in sorted(found.items(), key=lambda entry: _order(entry[0]))
        for p in of
    ]
    seen = table(["", "profile", "verdict", "p (Holm)", "what was seen"], details, left=5)
    parts = ["# Claims", READING, "## Verdicts", body, "## Evidence", seen, *_agreed(files, runs, options)]
    text = "\n\n".join(parts) + "\n"
    reports.mkdir(parents=True, exist_ok=True)
    for name, content in (("summary.md", text), ("summary.html", page("Claims", text, reports))):
        with whole(reports / name) as temporary:
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
    """A file's verdicts on a profile; none where its data are not at hand or nothing is recorded."""
    experiment = own if profile == own.profile.name else _planned(file, profile, options)
    if experiment is None or not _begun(experiment, runs):
        return []
    return answers(sequential.recorded(experiment, runs), Store(runs))


def _planned(file: Path, profile: str, options: dict[str, Any]) -> Experiment | None:
    """A file on a profile; None where its data are not at hand."""
    try:
        return planner.load(file, profile, **options)
    except SpecError:
        return None


def _begun(experiment: Experiment, runs: Path) -> bool:
    return any((runs / key / "record.json").exists() for key in experiment.cells)


def _agreed(files: Sequence[Path], runs: Path, options: dict[str, Any]) -> list[str]:
    """How far each two profiles agree on the order of a file's rows; nothing while one profile has records."""
    rows = list[list[str]]()
    for file in files:
        if "plan" not in yaml_files.mapping(yaml_files.read(file), str(file)):
            continue
        tables = {p: e for p in yaml_files.named("profiles") if (e := _planned(file, p, options))}
        means = {
            p: row_means(sequential.recorded(e, runs), Store(runs))
            for p, e in tables.items()
            if _begun(e, runs)
        }
        for a, b in itertools.combinations(means, 2):
            if found := agreement(means[a], means[b]):
                best = "the same" if found.same_best else "another"
                told = [f"{found.tau:.2f}", probability(found.p), str(found.rows), best]
                rows.append([file.stem, f"{a}, {b}", *told])
    if not rows:
        return []
    body = table(["experiment", "profiles", "Kendall's tau", "p", "rows", "lowest row"], rows, left=2)
    return ["## Does a small table predict a large one?", ORDERS, body]


def _told(verdict: Verdict | None) -> str:
    return f"{verdict.state} (n={verdict.n})" if verdict else "-"


def _order(name: str) -> tuple[int, str]:
    number = re.search(r"\d+", name)
    return int(number[0]) if number else 10**6, name
