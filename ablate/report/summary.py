"""All claims of several experiment files over all profiles that have records: a row per claim, a column per profile."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablate.analysis import sequential
from ablate.analysis.agreement import agreement
from ablate.analysis.results import Results
from ablate.analysis.verdicts import CONTRADICTED, SUPPORTED, Verdict
from ablate.config.profile import ARCHIVES, Profile, load_profile
from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.core.files import atomic_write
from ablate.core.formats import count
from ablate.planning import planner, recorded, tuning
from ablate.planning.experiment import Experiment
from ablate.report.html import page
from ablate.report.insert import insert
from ablate.report.markdown import escape, prose, table
from ablate.report.merged import WithRecords, merged
from ablate.runs import records_file
from ablate.statistics.wording import probability

Answers = dict[str, dict[str, Verdict]]  # claim -> profile -> verdict

READING = """A verdict holds at 5 % over the claims of its experiment, with Holm's correction, and over all interim
analyses where seeds were added. Undecided does not mean no: these seeds are not enough to
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
    inserted: Sequence[Path] = (),
) -> Path:
    """Write `summary.md` and `summary.html` from what is recorded in the runs and in the records files of reports.

    Args:
        files: experiment files; those without claims are skipped.
        overrides, seeds: those that the experiments were run with.
        inserted: Markdown files whose tables of claims are made anew; see `ablate.report.insert`.
    Returns:
        The Markdown file.
    Raises:
        SpecError: errors in a file, no claims, or no records.
    """
    options = {"overrides": overrides, "seeds": seeds}
    store = Recorded(runs, reports)
    found, says, places = _answered(files, store, options)
    if not says:
        raise SpecError("no claims in " + (", ".join(map(str, files)) or "no files"))
    profiles = list(dict.fromkeys(p for of in found.values() for p in of))
    if not profiles:
        raise SpecError(f"--runs-dir {runs}, --reports-dir {reports}: no records of these experiments")
    run = [n for n in sorted(says, key=_order) if any(v.n for v in found.get(n, {}).values())]
    rows = [
        [escape(name), prose(says[name]), *(_state(found.get(name, {}).get(p)) for p in profiles)]
        for name in run
    ]
    body = table(["", "claim", *profiles], rows, left=2 + len(profiles))
    details = [
        [escape(name), escape(p), of[p].state, probability(of[p].p), escape(of[p].because)]
        for name, of in ((name, found[name]) for name in run)
        for p in of
    ]
    left = [escape(name) for name in sorted(says, key=_order) if name not in run]
    evidence = table(["", "profile", "verdict", "p (Holm)", "what was seen"], details, left=5)
    parts = [
        "# Claims",
        _lead(found, says),
        READING,
        "## Verdicts",
        body,
        *([f"Not run anywhere yet: {', '.join(left)}."] if left else []),
        "## Evidence",
        evidence,
        *_agreed(files, store, options),
    ]
    text = "\n\n".join(parts) + "\n"
    for file in inserted:
        insert(file, {name: says[name] for name in sorted(says, key=_order)}, found, places)
    reports.mkdir(parents=True, exist_ok=True)
    for name, content in (("summary.md", text), ("summary.html", page("Claims", text, reports))):
        with atomic_write(reports / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return reports / "summary.md"


def _answered(
    files: Sequence[Path], store: Recorded, options: dict[str, Any]
) -> tuple[Answers, dict[str, str], dict[tuple[str, str], Path]]:
    """The answers, the claims' sentences, and the reports that the answers are from, by claim and profile."""
    found, says, places = dict[str, dict[str, Verdict]](), dict[str, str](), dict[tuple[str, str], Path]()
    for file in files:
        if "claims" not in yaml_files.mapping(yaml_files.read(file), str(file)):
            continue
        own = planner.load(file, **options)
        for one in own.claims:
            if says.setdefault(one.id, one.says) != one.says:
                raise SpecError(
                    f"{file}: claim {one.id!r} says {one.says!r}, but in another of these files {says[one.id]!r}: "
                    "a summary has one line for an id, so give one of them another"
                )
        for name in dict.fromkeys([own.profile.name, *store.profiles()]):
            for results in _results(file, name, store, options):
                for verdict in results.verdicts:
                    of, claim = found.setdefault(verdict.claim.id, {}), verdict.claim.id
                    if name in of and (of[name].n, of[name].p) >= (verdict.n, verdict.p):
                        continue
                    of[name] = verdict
                    places.pop((claim, name), None)
                    if report := store.report(results.experiment):
                        places[claim, name] = report
    return found, says, places


class Recorded(WithRecords):
    """The runs, and the records files of all reports."""

    def __init__(self, runs: Path, reports: Path):
        super().__init__(runs, sorted(reports.rglob(records_file.FILE)))
        self.results = dict[tuple[Path, str], list[Results]]()

    def of(self, experiment: Experiment) -> Recorded:
        """With the lines of an experiment's own reports first: another may have measured the same cells otherwise."""
        found = copy.copy(self)
        own = [lines for file, lines in self.files.items() if file.parent.name == experiment.name]
        found.lines = {**self.lines, **{key: line for lines in own for key, line in lines.items()}}
        return found

    def shown(self, experiment: Experiment) -> Experiment:
        """The experiment with all seeds that its own reports show, but not those of other files."""
        experiment = sequential.grown(tuning.known(experiment, self.path), self)
        for file in self.files:
            if file.parent.name == experiment.name:
                experiment = merged(experiment, self, file.parent).experiment
        return experiment

    def report(self, experiment: Experiment) -> Path | None:
        """The page of the report with the most cells of an experiment, None if none has any."""
        own = {
            file: len(lines.keys() & experiment.cells.keys())
            for file, lines in self.files.items()
            if file.parent.name == experiment.name
        }
        best = max(own, key=own.__getitem__, default=None)
        return best.with_name("table.md") if best and own[best] else None

    def profiles(self) -> list[str]:
        """The names of all profiles that may have records."""
        of_lines = (line["record"]["profile"] for line in self.lines.values())
        return list(dict.fromkeys([*yaml_files.named("profiles"), *of_lines]))

    def images(self, profile: str, planned: Profile | None) -> Iterator[recorded.Recorded]:
        """The profile with the images of its recorded cells, which may be missing here or have another format.

        Args:
            planned: the profile as it is now; cells of another budget or of other images are left out.
        """
        configs = [x["config"] for x in self.lines.values() if x["config"]["profile"]["name"] == profile]
        for plain in {json.dumps([c["profile"], c["fingerprint"]]): c for c in configs}.values():
            with suppress(ValidationError):
                known = Profile.model_validate_json(json.dumps(plain["profile"]), strict=True)
                size = known.data.resolution or (32 if known.data.path in (None, ARCHIVES[0]) else 0)
                if size and (planned is None or _alike(known, planned)):
                    for channels in (3, 1):
                        yield recorded.Recorded(known, plain["fingerprint"], (channels, size, size))


def _alike(known: Profile, planned: Profile) -> bool:
    """Whether two profiles have the same budget, and images by the same name or CIFAR-10's as archives."""
    a, b = known.keyed(), planned.keyed()
    named = known.data.name == planned.data.name or (planned.data.name, known.data.path) == (
        "cifar10",
        ARCHIVES[0],
    )
    for plain in (a, b):
        plain["data"] = {k: v for k, v in plain["data"].items() if k not in ("name", "path", "test_path")}
    return named and a == b


def _results(file: Path, profile: str, store: Recorded, options: dict[str, Any]) -> list[Results]:
    """The results of a file on a profile; planned once."""
    if (file, profile) not in store.results:
        planned = _planned(file, profile, store, options)
        store.results[file, profile] = [Results(experiment, store.of(experiment)) for experiment in planned]
    return store.results[file, profile]


def _planned(file: Path, profile: str, store: Recorded, options: dict[str, Any]) -> list[Experiment]:
    """A file on a profile, with the images here and with those of records; empty where nothing is recorded."""
    found = []
    with suppress(SpecError):  # its images are missing, or it is another project's
        found.append(planner.load(file, profile, **options))
    here = found[0].profile if found else None
    if not here and (named := yaml_files.named("profiles").get(profile)):
        here = load_profile(str(named))
    found = [e for e in found if _has_records(e, store)]
    for images in store.images(profile, here):
        if images.fingerprint not in {c.fingerprint for e in found for c in e.cells.values()}:
            with suppress(SpecError):
                found += [
                    e for e in [planner.load(file, **options, recorded=images)] if _has_records(e, store)
                ]
    return [store.of(e).shown(e) for e in found]


def _has_records(experiment: Experiment, store: Recorded) -> bool:
    return any(store.record(key) for key in experiment.cells)


def _agreed(files: Sequence[Path], store: Recorded, options: dict[str, Any]) -> list[str]:
    """How far each pair of profiles agrees on the order of a file's rows; empty where only one has records."""
    rows = list[list[str]]()
    for file in files:
        if "plan" not in yaml_files.mapping(yaml_files.read(file), str(file)):
            continue
        found = {p: _results(file, p, store, options) for p in store.profiles()}
        means = {p: max((results.row_means() for results in of), key=len) for p, of in found.items() if of}
        for a, b in itertools.combinations(means, 2):
            if agreed := agreement(means[a], means[b]):
                best = "the same" if agreed.same_best else "another"
                numbers = [f"{agreed.tau:.2f}", probability(agreed.p), str(agreed.rows)]
                rows.append([escape(file.stem), escape(f"{a}, {b}"), *numbers, best])
    if not rows:
        return []
    body = table(["experiment", "profiles", "Kendall's tau", "p", "rows", "lowest row"], rows, left=2)
    return ["## Does a small table predict a large one?", ORDERS, body]


def _state(verdict: Verdict | None) -> str:
    if verdict is None:
        return "-"
    return f"{verdict.state} ({count(verdict.n, 'seed')})" if verdict.n else verdict.state


def _lead(found: Answers, says: Mapping[str, str]) -> str:
    """A sentence: how many claims are supported, contradicted or neither, on some profile."""
    states = [{verdict.state for verdict in found.get(name, {}).values()} for name in says]
    both = sum({SUPPORTED, CONTRADICTED} <= of for of in states)
    for_, against = (sum(state in of for of in states) - both for state in (SUPPORTED, CONTRADICTED))
    counted = [
        (for_, "supported on at least one profile"),
        (against, "contradicted"),
        (both, "supported on one and contradicted on another"),
    ]
    words = [f"{n} {'is' if n == 1 else 'are'} {what}" for n, what in counted if n]
    words += (
        [f"{left} {'has' if left == 1 else 'have'} no answer yet"]
        if (left := len(says) - for_ - against - both)
        else []
    )
    return f"Of {count(len(says), 'claim')}, {', '.join(words)}."


def _order(name: str) -> tuple[int, str]:
    number = re.search(r"\d+", name)
    return int(number[0]) if number else 10**6, name
