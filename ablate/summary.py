"""All claims of several experiment files over all profiles that have records: a row per claim, a column per profile."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate import documents, evidence, plan
from ablate.experiment import Experiment
from ablate.registry import SpecError
from ablate.report import answers
from ablate.report.html import page
from ablate.report.markdown import table
from ablate.report.verdicts import Verdict, probability
from ablate.store import Store, whole

Answers = dict[str, dict[str, Verdict]]  # claim -> profile -> verdict
READING = """A verdict holds at 5 % over the claims of its experiment, corrected by Holm, and over all looks at them
where seeds were added. n is the number of seeds. Undecided is not a no: it says that the seeds at hand do not tell."""


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
    found, says = _answered(files, runs, {"overrides": overrides, "seeds": seeds})
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
    text = "\n\n".join(["# Claims", READING, "## Verdicts", body, "## Evidence", seen]) + "\n"
    reports.mkdir(parents=True, exist_ok=True)
    for name, content in (("summary.md", text), ("summary.html", page("Claims", text, reports))):
        with whole(reports / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return reports / "summary.md"


def _answered(files: Sequence[Path], runs: Path, options: dict[str, Any]) -> tuple[Answers, dict[str, str]]:
    found, says = dict[str, dict[str, Verdict]](), dict[str, str]()
    for file in files:
        if "claims" not in documents.mapping(documents.read(file), str(file)):
            continue
        own = plan.load(file, **options)
        says |= {claim.id: claim.says for claim in own.claims}
        for name in dict.fromkeys([own.profile.name, *documents.named("profiles")]):
            for verdict in _of(file, name, own, runs, options):
                found.setdefault(verdict.claim.id, {})[name] = verdict
    return found, says


def _of(file: Path, profile: str, own: Experiment, runs: Path, options: dict[str, Any]) -> list[Verdict]:
    """A file's verdicts on a profile; none where its data are not at hand or nothing is recorded."""
    try:
        experiment = own if profile == own.profile.name else plan.load(file, profile, **options)
    except SpecError:
        return []
    if not any((runs / key / "record.json").exists() for key in experiment.cells):
        return []
    return answers(evidence.recorded(experiment, runs), Store(runs))


def _told(verdict: Verdict | None) -> str:
    return f"{verdict.state} (n={verdict.n})" if verdict else "-"


def _order(name: str) -> tuple[int, str]:
    number = re.search(r"\d+", name)
    return int(number[0]) if number else 10**6, name
