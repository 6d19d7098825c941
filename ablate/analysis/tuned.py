"""What tuning did for each row: its FID before and after, the values, and whether more trials would have helped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ablate.analysis.lines import Line, Stat
from ablate.analysis.results import Results
from ablate.core.files import read_json, write_json
from ablate.planning import tuning
from ablate.planning.tune import BESIDE, Found, at_edge
from ablate.statistics.expected_best import expected_best


@dataclass(frozen=True)
class Tuned:
    """A row that is tuned. found: its study, None before the first trial. after: the tuned row, None before the end."""

    before: Line
    after: Line | None
    found: Found | None
    trials: int

    @property
    def edges(self) -> list[str]:
        """The searched fields whose best value lies at an end of what was searched."""
        best = self.found and self.found.best
        if not best or not self.found:
            return []
        return [k for k, v in best.params.items() if at_edge(v, self.found.search[k])]

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
    experiment, lines = results.experiment, {line.row.label: line for line in results.lines}
    after = {line.row.tuned.label: line for line in results.lines if line.row.tuned}
    settings = experiment.tuning
    if not settings:
        return []
    return [
        Tuned(
            lines[row.label],
            after.get(row.label),
            settings.found.get(name),
            tuning.most(settings.tune, row),
        )
        for name, row in tuning.studies(experiment).items()
    ]


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
