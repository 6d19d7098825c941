"""What the numbers say: every row against its base; every claim supported, contradicted or undecided."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablate.analysis.frame import COLUMNS
from ablate.analysis.lines import bases
from ablate.analysis.statistics import ALPHA, Paired, Scores, holm, paired, seeds_needed, trend
from ablate.analysis.wording import told
from ablate.core.errors import SpecError
from ablate.planning.claims import Claim, Question, Sample, ask

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.experiment import Experiment

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
Table = Mapping[tuple[int, int], Mapping[str, Scores]]  # (row, nfe) -> unlike -> scores


@dataclass(frozen=True)
class Versus:
    """A row against its base; `corrected` is its p after Holm's correction over the table.

    seeds: how many would decide it with 80 % power, None beyond a hundred.
    """

    base: int
    paired: Paired
    corrected: float
    seeds: int | None

    @property
    def decided(self) -> bool:
        """Whether the row is told apart from its base."""
        return self.corrected <= ALPHA


@dataclass(frozen=True)
class Verdict:
    """The answer to a claim.

    p: two-sided, of the test that decides, after Holm's correction over the file's claims. n: seeds. effect: of
    the comparison that decides, if the claim has one. among: of how many claims, by which margin, at how many looks.
    """

    claim: Claim
    state: str
    n: int
    p: float
    because: str
    effect: Paired | None = None
    among: tuple[int, float, int] = (1, 1.0, 1)

    @property
    def seeds(self) -> int | None:
        """How many would decide an open claim, None if unknown; worked out when asked for, it takes milliseconds."""
        return _seeds(self.effect, *self.among) if self.effect and self.state == UNDECIDED else None

    def plain(self) -> dict[str, Any]:
        """State, n, p, what was seen, ratio with its interval, seeds needed."""
        found = {"state": self.state, "n": self.n, "p": self.p, "because": self.because, "seeds": self.seeds}
        pair = self.effect
        ratio = [pair.ratio, pair.low, pair.high] if pair else []
        return found | {"ratio": [v if math.isfinite(v) else None for v in ratio]}


@dataclass(frozen=True)
class _Test:
    """p of the claim's untruth and of its opposite's, before any correction."""

    support: float
    against: float
    n: int
    because: str
    effect: Paired | None = None

    @property
    def p(self) -> float:
        return min(1.0, 2 * min(self.support, self.against))


def scores(table: pd.DataFrame) -> Table:
    """FID of every row, number of evaluations and seed; infinite where training diverged."""
    assert set(COLUMNS) <= set(table.columns)
    found: dict[tuple[int, int], dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    measured = table.dropna(subset=["nfe", "fid"])
    steps = sorted(
        {(int(nfe), unlike) for nfe, unlike in zip(measured["nfe"], measured["unlike"], strict=True)}
    )
    named = measured[["index", "nfe", "unlike", "seed", "fid"]]
    for index, nfe, unlike, seed, fid in named.itertuples(index=False, name=None):
        found[index, int(nfe)][unlike][seed] = float(fid)
    lost = table[table["state"] == "diverged"][["index", "seed"]].drop_duplicates()
    for index, seed in lost.itertuples(index=False, name=None):
        for nfe, unlike in steps or [(1, "")]:
            found[index, nfe][unlike][seed] = math.inf
    return found


def _compared(contexts: Sequence[tuple[Sample, Sample]], table: Table, margin: float = 1.0) -> Paired | None:
    """A comparison of like numbers only; None where no seed has both sides."""
    likes = {u for a, _ in contexts for u in table.get((a.row, a.nfe), {})}
    for unlike in sorted(likes):
        pairs = [
            (table.get((a.row, a.nfe), {}).get(unlike, {}), table.get((b.row, b.nfe), {}).get(unlike, {}))
            for a, b in contexts
        ]
        if set.intersection(*(set(x) & set(y) for x, y in pairs)):
            return paired(pairs, margin)
    return None


def versus(experiment: Experiment, table: Table, nfe: int = 1) -> list[Versus | None]:
    """Every row against the row that it is a diff of, None where it has none or no seed has both."""
    rows = experiment.rows
    found: list[tuple[int, Paired] | None] = []
    for i, base in enumerate(bases(rows, [row.recipe.flat() for row in rows])):
        pair = None if base is None else _compared([(Sample(i, nfe), Sample(base, nfe))], table)
        found.append((base, pair) if base is not None and pair else None)
    corrected = iter(holm([pair.p for _, pair in filter(None, found)]))
    tests = sum(entry is not None for entry in found)
    return [
        Versus(entry[0], entry[1], next(corrected), _seeds(entry[1], tests)) if entry else None
        for entry in found
    ]


def _seeds(pair: Paired, tests: int, margin: float = 1.0, looks: int = 1) -> int | None:
    if pair.n < 2 or pair.lost or not pair.ratio > 0:
        return None
    return seeds_needed(math.log(pair.ratio * margin), pair.deviation, tests, ALPHA / looks)


def answers(experiment: Experiment, table: Table) -> list[Verdict]:
    """The file's claims, answered at a rate of 5 % of false answers over all of them and all looks at the data."""
    asked, tests = list[Question | None](), list[_Test]()
    for claim in experiment.claims:
        try:
            question = ask(claim, experiment.rows, experiment.base)
        except SpecError as error:  # the rows were left out, or changed by --set
            asked.append(None)
            tests.append(_Test(1.0, 1.0, 0, error.problems[0]))
        else:
            asked.append(question)
            tests.append(_test(question, table, experiment))
    corrected = holm([min(1.0, test.p * experiment.looks) for test in tests])
    found = []
    for put, test, p, claim in zip(asked, tests, corrected, experiment.claims, strict=True):
        state = UNDECIDED if p > ALPHA else SUPPORTED if test.support < test.against else CONTRADICTED
        among = len(tests), claim.ratio if put and put.duels else 1.0, experiment.looks
        found.append(Verdict(claim, state, test.n, p, test.because, test.effect, among))
    return found


def _test(question: Question, table: Table, experiment: Experiment) -> _Test:
    if question.duels:
        return _duel(question, table, experiment)
    return (_valley if question.claim.valley else _monotone)(question, table)


def _duel(question: Question, table: Table, experiment: Experiment) -> _Test:
    """Each alternative must be beaten; one that clearly beats the better side contradicts."""
    found = [(d, _compared(d, table, question.claim.ratio)) for d in question.duels]
    if any(pair is None for _, pair in found):
        return _Test(1.0, 1.0, 0, "not all of its rows have results")
    known = [(d, pair) for d, pair in found if pair]
    contexts, hardest = max(known, key=lambda entry: entry[1].less)
    against = min(1.0, len(known) * min(pair.greater for _, pair in known))
    if hardest.less > against:
        contexts, hardest = min(known, key=lambda entry: entry[1].greater)
    names = [experiment.rows[s.row].label for s in contexts[0]]
    where = f"{names[0]} against {names[1]}" if names[0] != names[1] else names[0]
    more = f" and {len(contexts) - 1} more" if len(contexts) > 1 else ""
    return _Test(
        max(p.less for _, p in known), against, hardest.n, f"{where}{more}: {told(hardest)}", hardest
    )


def _valley(question: Question, table: Table) -> _Test:
    """Supported: some value inside beats every value outside, which lie on both sides.

    An intersection-union test over the values outside, with Bonferroni's correction for the choice of the best inside.
    """
    field, (low, high) = question.claim.valley, question.bounds
    sweep = [(v, s) for v, s in question.sweep if table.get((s.row, s.nfe))]
    inside = [(v, s) for v, s in sweep if low <= v <= high]
    outside = [(v, s) for v, s in sweep if not low <= v <= high]
    if not inside or not outside:
        return _Test(1.0, 1.0, 0, f"{field} has no results on either side of its range")
    pairs = {(o, i): _compared([(si, so)], table) for (o, so), (i, si) in itertools.product(outside, inside)}
    if any(pair is None for pair in pairs.values()):
        return _Test(1.0, 1.0, 0, "no seed has all of its rows")
    known = {k: pair for k, pair in pairs.items() if pair}
    beaten = {o: min(1.0, len(inside) * min(known[o, i].less for i, _ in inside)) for o, _ in outside}
    better = {o: max(known[o, i].greater for i, _ in inside) for o, _ in outside}
    open_ends = [side for side, missing in _ends(outside, low, high) if missing]
    worst = max(beaten, key=lambda o: beaten[o])
    rival = min(better, key=lambda o: better[o])
    support = 1.0 if open_ends else beaten[worst]
    against = min(1.0, len(outside) * better[rival])
    shown = worst if support <= against else rival
    best = min((i for i, _ in inside), key=lambda i: known[shown, i].ratio)
    because = (
        f"{field}={best:g} against {shown:g} outside {low:.3g} to {high:.3g}: {told(known[shown, best])}"
    )
    because += f"; no value on the {' and the '.join(open_ends)} side" if open_ends else ""
    return _Test(support, against, known[shown, best].n, because, None if open_ends else known[shown, best])


def _ends(outside: Sequence[tuple[float, Sample]], low: float, high: float) -> list[tuple[str, bool]]:
    return [
        ("lower", not any(v < low for v, _ in outside)),
        ("upper", not any(v > high for v, _ in outside)),
    ]


def _monotone(question: Question, table: Table) -> _Test:
    """Supported: FID falls along the values (Page's trend over the seeds), and no step up is sure."""
    field, sweep = question.claim.monotone, question.sweep
    columns = [next(iter(table.get((s.row, s.nfe), {}).values()), {}) for _, s in sweep]
    shared = sorted(set.intersection(*(set(c) for c in columns)))
    if len(shared) < 2:
        return _Test(1.0, 1.0, len(shared), "fewer than two seeds have all of its values")
    falls, rises = trend([[c[seed] for c in columns] for seed in shared])
    steps = [(a, b, _compared([(sb, sa)], table)) for (a, sa), (b, sb) in itertools.pairwise(sweep)]
    because = f"{field} {sweep[0][0]:g} to {sweep[-1][0]:g}: Page's trend over {len(sweep)} values"
    ups = [(a, b, pair) for a, b, pair in steps if pair and pair.greater < ALPHA]
    if ups:
        a, b, pair = ups[0]
        because += f", but from {a:g} to {b:g} {told(pair)}"
        falls = 1.0
    first = _compared([(sweep[-1][1], sweep[0][1])], table)
    if first and not ups:
        because += f"; from end to end {told(first)}"
    return _Test(falls, rises, len(shared), because, None)


def undecided(experiment: Experiment, found: Sequence[Verdict]) -> list[tuple[Verdict, set[int]]]:
    """The claims that wait for more seeds, those with the fewest first, with their rows."""
    waiting = []
    for verdict in found:
        if verdict.state == UNDECIDED:
            try:
                question = ask(verdict.claim, experiment.rows, experiment.base)
            except SpecError:
                continue
            waiting.append((verdict, question.rows))
    return sorted(waiting, key=lambda entry: entry[0].n)
