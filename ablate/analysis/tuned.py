"""What tuning did for each row: its FID before and after, the values, and whether more trials would have helped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ablate.analysis.lines import Line, Stat
from ablate.analysis.results import Results
from ablate.core.files import read_json, write_json
from ablate.planning import tuning
from ablate.planning.tune import BESIDE, Found, at_edge, last_tried
from ablate.statistics.expected_best import expected_best


@dataclass(frozen=True)
class Tuned:
    """What a study tunes. found: the study, None before the first trial.

    lines: a row as the file has it and tuned, None before the end of its trials; a pair for each budget.
    without_own: there are trials, but none with the values that the row has in the file.
    """

    lines: list[tuple[Line, Line | None]]
    found: Found | None
    trials: int
    without_own: bool = False

    @property
    def label(self) -> str:
        """The label of the first row."""
        return self.lines[0][0].row.label

    @property
    def edges(self) -> list[str]:
        """The searched fields whose best value lies at an end of the search, or of the values that were tried."""
        best = self.found and self.found.best
        if not best or not self.found:
            return []
        tried = [trial.params for trial in self.found.ended]
        return [
            k
            for k, v in best.params.items()
            if at_edge(v, self.found.search[k]) or last_tried(v, [one[k] for one in tried if k in one])
        ]

    @property
    def values(self) -> list[float]:
        """FID of every trial that ended; one that was pruned, diverged or failed counts as the highest known."""
        known = [t.value for t in self.found.ended if t.value is not None] if self.found else []
        lost = len(self.found.ended) - len(known) if self.found and known else 0
        return [*known, *[max(known, default=0.0)] * lost]

    def expected(self, k: int) -> float | None:
        """The expected best FID of k trials; None while trials are missing."""
        return expected_best(self.values, k) if self.found and self.found.complete and self.values else None


def tuned(results: Results) -> list[Tuned]:
    """One entry for every study, in the order of the rows."""
    experiment, settings = results.experiment, results.experiment.tuning
    before = {line.row.named: line for line in results.lines if not line.row.tuned}
    after = {line.row.tuned.named: line for line in results.lines if line.row.tuned}
    if not settings:
        return []
    found = []
    for name, rows in tuning.tuned_by(experiment).items():
        distinct = {row.keys: row.named for row in reversed(rows)}.values()  # of equal rows the first
        lines = [(before[named], after.get(named)) for named in reversed(distinct)]
        study = settings.found.get(name)
        found.append(Tuned(lines, study, tuning.most(settings.tune, rows[0]), _without_own(results, name)))
    return found


def _without_own(results: Results, name: str) -> bool:
    """Whether a study has trials, but none with its row's own recipe: the search lacks one of the row's values."""
    experiment, settings = results.experiment, results.experiment.tuning
    if not settings or not (study := settings.found.get(name)) or not study.tried:
        return False
    row, kept = tuning.studies(experiment)[name], tuning.kept(experiment)
    made = (tuning.tuned_recipe(row, trial.params, settings.shape, kept) for trial in study.tried)
    return all(recipe != row.recipe for recipe in made)


def worse(results: Results) -> list[str]:
    """The rows whose mean one-step FID is higher with their tuned values than without."""
    pairs = [
        (a.row.named, one_step(a, results), one_step(b, results)) for t in tuned(results) for a, b in t.lines
    ]
    return [name for name, before, after in pairs if before and after and after.mean > before.mean]


def one_step(line: Line | None, results: Results) -> Stat | None:
    """A line's one-step FID."""
    first = next((c for c in results.measured if c.nfe == 1), None)
    return line.stat("fid", first) if line and first else None


def keep(results: Results, folder: Path) -> None:
    """Put what came out of the studies beside a report, which can then be made again without the runs."""
    settings = results.experiment.tuning
    if not settings or not settings.found:
        return
    place, wanted = folder / BESIDE, tuning.studies(results.experiment)
    plain = {"studies": [settings.found[name].plain() for name in wanted if name in settings.found]}
    before = read_json(place)
    kept = before.get("studies", []) if isinstance(before, dict) else []
    # the studies of other rows or of another search may be the only copy of what they found
    plain["studies"] += [one for one in kept if isinstance(one, dict) and one.get("id") not in wanted]
    if json.loads(json.dumps(plain)) != before:
        write_json(place, plain)
