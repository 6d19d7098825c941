"""Compares every row with its base, and decides every claim: supported, contradicted or undecided."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ablate.core.errors import SpecError
from ablate.planning import tuning
from ablate.planning.cells import bases
from ablate.planning.claims import Claim, Evidence
from ablate.statistics.effect import Effect, Sample, Table, compare
from ablate.statistics.power import seeds_needed
from ablate.statistics.significance import ALPHA, holm
from ablate.statistics.spread import Spread, spread_of

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.experiment import Experiment

SUPPORTED, CONTRADICTED = "supported", "contradicted"
UNDECIDED, UNTESTED = "undecided", "not run"  # tested without an answer; a row has no result


@dataclass(frozen=True)
class Versus:
    """A row against its base; `corrected` is its p after Holm's correction over the table.

    seeds: how many would decide it with 80 % power, None beyond a hundred. spread: its spread over seeds against the
    base's, None where one has a single value. spread_p: that its spread is not larger, after the same correction.
    """

    base: int
    effect: Effect
    corrected: float
    seeds: int | None
    spread: Spread | None = None
    spread_p: float = 1.0

    @property
    def decided(self) -> bool:
        """Whether the row is significantly different from its base."""
        return self.corrected <= ALPHA

    @property
    def unstable(self) -> bool:
        """Whether the row's seeds spread significantly more than its base's."""
        return self.spread_p <= ALPHA


@dataclass(frozen=True)
class Verdict:
    """The answer to a claim.

    p: two-sided, after Holm's correction over the file's claims. claims, analyses: how many claims and interim
    analyses share the 5 %.
    """

    claim: Claim
    evidence: Evidence
    p: float
    claims: int = 1
    analyses: int = 1

    @property
    def state(self) -> str:
        """Supported, contradicted, undecided or, without a seed to test it on, not run."""
        if self.p > ALPHA:
            return UNDECIDED if self.n else UNTESTED
        return SUPPORTED if self.evidence.support < self.evidence.against else CONTRADICTED

    @property
    def n(self) -> int:
        """How many seeds it rests on."""
        return self.evidence.n

    @property
    def because(self) -> str:
        """What was seen."""
        return self.evidence.because

    @property
    def seeds(self) -> int | None:
        """How many would decide an open claim, None if unknown; takes milliseconds, so only when you ask."""
        pair = self.evidence.effect
        if not pair or self.state != UNDECIDED:
            return None
        return _seeds(pair, self.claims, self.evidence.margin, self.analyses)

    def plain(self) -> dict[str, Any]:
        """State, n, p, what was seen, seeds needed, ratio with its interval."""
        pair = self.evidence.effect
        ratio = [pair.ratio, pair.low, pair.high] if pair else []
        return {
            "state": self.state,
            "n": self.n,
            "p": self.p,
            "because": self.because,
            "seeds": self.seeds,
            "ratio": [v if math.isfinite(v) else None for v in ratio],
        }


def scores(table: pd.DataFrame) -> Table:
    """FID of every row, number of evaluations and seed; infinite where training diverged."""
    found: dict[tuple[int, int], dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    measured = table.dropna(subset=["nfe", "fid"])
    hows = measured["measured_differently"]
    steps = sorted({(int(nfe), how) for nfe, how in zip(measured["nfe"], hows, strict=True)})
    named = measured[["index", "nfe", "measured_differently", "seed", "fid"]]
    for index, nfe, how, seed, fid in named.itertuples(index=False, name=None):
        found[index, int(nfe)][how][seed] = float(fid)
    lost = table[table["state"] == "diverged"][["index", "seed"]].drop_duplicates()
    for index, seed in lost.itertuples(index=False, name=None):
        for nfe, how in steps or [(1, "")]:
            found[index, nfe][how][seed] = math.inf
    return found


def of_budget(experiment: Experiment, table: Table, budget: float) -> Table:
    """The scores of the rows of one budget."""
    return {sample: found for sample, found in table.items() if experiment.rows[sample[0]].budget == budget}


def at(experiment: Experiment, table: Table, budget: float) -> tuple[Experiment, Table]:
    """The experiment of one budget with its scores."""
    rows = [i for i, row in enumerate(experiment.rows) if row.budget == budget]
    moved = {i: n for n, i in enumerate(rows)}
    scores = {(moved[i], nfe): found for (i, nfe), found in table.items() if i in moved}
    return experiment.at(budget), scores


def versus(experiment: Experiment, table: Table, nfe: int = 1) -> list[Versus | None]:
    """Every row against the row that it is a diff of, None where it has none or a row has no result."""
    rows, found = experiment.rows, dict[int, tuple[int, Effect, Spread | None]]()
    tables = {budget: of_budget(experiment, table, budget) for budget in {row.budget for row in rows}}
    for i, base in enumerate(bases(rows, [row.recipe.flat() for row in rows])):
        sides = None if base is None else (Sample(i, nfe), Sample(base, nfe))
        if base is not None and sides and (effect := compare([sides], tables[rows[i].budget])):
            found[i] = base, effect, spread_of(*sides, table)
    corrected = holm([effect.p for _, effect, _ in found.values()])
    spread_p = holm([spread.greater if spread else 1.0 for *_, spread in found.values()])
    known = {
        i: Versus(base, effect, p, _seeds(effect, len(found)), spread, wider)
        for (i, (base, effect, spread)), p, wider in zip(found.items(), corrected, spread_p, strict=True)
    }
    return [known.get(i) for i in range(len(rows))]


def _seeds(pair: Effect, tests: int, margin: float = 1.0, analyses: int = 1) -> int | None:
    if pair.n < 2 or pair.lost or not pair.ratio > 0:
        return None
    freedom = pair.df / (pair.n - 1)
    return seeds_needed(math.log(pair.ratio * margin), pair.deviation, tests, ALPHA / analyses, freedom)


def answers(experiment: Experiment, table: Table) -> list[Verdict]:
    """Decide the file's claims: at most 5 % for any false verdict, over all claims and all interim analyses.

    With `budgets`, the largest decides.
    """
    if experiment.budgets:
        return answers(*at(experiment, table, experiment.budgets[-1]))
    tested = [_tested(claim, experiment, table) for claim in experiment.claims]
    corrected = holm([min(1.0, evidence.p * experiment.analyses) for evidence in tested])
    pairs = zip(experiment.claims, tested, corrected, strict=True)
    return [Verdict(claim, evidence, p, len(tested), experiment.analyses) for claim, evidence, p in pairs]


def _tested(claim: Claim, experiment: Experiment, table: Table) -> Evidence:
    try:
        return tuning.test(claim, experiment, table)
    except SpecError as error:  # the rows were left out, changed by --set, or are not tuned yet
        return Evidence(1.0, 1.0, 0, error.problems[0])


def undecided(experiment: Experiment, found: Sequence[Verdict]) -> list[tuple[Verdict, set[int]]]:
    """The claims that wait for more seeds, those with the fewest first, with their rows."""
    waiting = []
    for verdict in found:
        if verdict.p > ALPHA:
            with contextlib.suppress(SpecError):  # it has no rows, so that seeds would not help
                rows = experiment.places(partial(tuning.rows_of, verdict.claim))
                waiting.append((verdict, rows))
    return sorted(waiting, key=lambda entry: entry[0].n)
