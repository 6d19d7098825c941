"""A table's lines: the metrics of a row over its seeds, its section and its base."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ablate.analysis.frame import Column
from ablate.core.formats import number
from ablate.evaluation.metrics import METRICS
from ablate.planning.cells import times
from ablate.statistics.effect import Table, floor, not_significant

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.cells import Row
    from ablate.planning.experiment import Experiment

PAIRED = ("ladder", "leave_one_out", "factorial")  # sections between two recipes
SWEEP = 4  # fewest values of a sweep
WORDS = {"list": "Recipes", "grid": "Every combination", "zip": "Values together"}
LOST = {"diverged": "diverged", "failed": "failed", "missing": "not run"}  # states without results, in words


@dataclass(frozen=True)
class Stat:
    """A metric over the seeds of a row; std is the sample's, NaN of a single seed."""

    mean: float
    std: float
    n: int
    by_seed: Mapping[int, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """`20.26 ± 1.31`."""
        return number(self.mean) + self.plus_minus

    @property
    def plus_minus(self) -> str:
        """` ± 1.31`, empty for a single seed."""
        return f" ± {number(self.std)}" if self.n > 1 else ""


@dataclass
class Line:
    """A row with its results."""

    index: int
    row: Row
    states: Counter[str] = field(default_factory=Counter)
    reasons: list[tuple[str, str]] = field(default_factory=list)  # (state, reason)
    wall_s: float = 0.0
    # (metric, nfe, measured_differently)
    stats: dict[tuple[str, int, str], Stat] = field(default_factory=dict)

    def stat(self, metric: str, column: Column) -> Stat | None:
        """The metric over the row's seeds; None where a column does not have it."""
        return self.stats.get((metric, column.nfe, column.measured_differently))

    @property
    def n(self) -> int:
        """How many finished seeds entered the means."""
        return len({seed for (metric, *_), s in self.stats.items() if metric == "fid" for seed in s.by_seed})

    @property
    def seconds(self) -> float:
        """Worker time of one of its cells, 0 before any has run."""
        return self.wall_s / max(1, sum(n for state, n in self.states.items() if state != "missing"))

    @property
    def whole(self) -> bool:
        """Whether no seed was lost: the mean of the seeds that survived would flatter the row."""
        return not (self.states["diverged"] or self.states["failed"])

    @property
    def lost(self) -> str:
        """How many seeds entered no mean, and why: `1 diverged, 2 not run`."""
        return counted(Counter({**self.states, "finished": 0}))


def counted(states: Counter[str], finished: str = "finished") -> str:
    """Numbers of cells by state, in words: `5 finished, 1 not run`."""
    words = {"finished": finished} | LOST
    return ", ".join(f"{states[state]:,} {word}" for state, word in words.items() if states[state])


def lines(experiment: Experiment, table: pd.DataFrame) -> list[Line]:
    """One line per row of the experiment, in its order."""
    result = [Line(i, row) for i, row in enumerate(experiment.rows)]
    cells = table.drop_duplicates(["index", "seed"])
    ends = cells[["index", "state", "reason", "wall_s"]]
    for index, state, reason, wall_s in ends.itertuples(index=False, name=None):
        line = result[index]
        line.states[state] += 1
        line.wall_s += wall_s if wall_s and wall_s == wall_s else 0.0
        if isinstance(reason, str):
            line.reasons.append((state, reason))
    for metric in METRICS:
        for (index, nfe, how), stat in _stats(table, metric).items():
            result[index].stats[metric, nfe, how] = stat
    return result


def _stats(table: pd.DataFrame, metric: str) -> dict[tuple[int, int, str], Stat]:
    values: dict[tuple[int, int, str], dict[int, float]] = defaultdict(dict)
    measured = table.dropna(subset=["nfe", metric])
    plain = measured[["index", "nfe", "measured_differently", "seed", metric]]
    for index, nfe, how, seed, value in plain.itertuples(index=False, name=None):
        values[index, int(nfe), how][seed] = value
    by = measured.groupby(["index", "nfe", "measured_differently"])[metric].agg(["mean", "std", "count"])
    return {key: Stat(mean, std, count, values[key]) for key, mean, std, count in by.itertuples(name=None)}


def best(lines: Sequence[Line], column: Column, table: Table) -> tuple[set[int], set[int]]:
    """Indices of lines with the lowest mean FID, and of those that are not significantly different from it.

    A line that lost a seed is left out. A line with a single seed is not among the second: no test is possible.
    """
    measured = {line.index: s for line in lines if line.whole and (s := line.stat("fid", column))}
    if not measured:
        return set(), set()
    first = min(measured, key=lambda i: measured[i].mean)
    lowest = measured[first].by_seed
    least = floor(table, [(column.nfe, 1.0)], column.measured_differently)
    others = {i: stat.by_seed for i, stat in measured.items() if stat.by_seed != lowest}
    return measured.keys() - others.keys(), {
        i for i, by_seed in others.items() if not_significant(by_seed, lowest, least)
    }


def lowest(lines: Sequence[Line], most: int) -> list[Line]:
    """The `most` lines with the lowest one-step FID, in table order; all of them where there are no more."""
    return sorted(lowest_first(lines)[:most], key=lambda line: line.index)


def lowest_first(lines: Sequence[Line]) -> list[Line]:
    """The lines by their mean one-step FID; those without one come last."""

    def fid(line: Line) -> float:
        return min((s.mean for (*what, _), s in line.stats.items() if what == ["fid", 1]), default=1e300)

    return sorted(lines, key=fid)


def distinct(lines: Sequence[Line]) -> list[Line]:
    """The lines without those that repeat the cells of an earlier one."""
    first: dict[tuple[str, ...], Line] = {}
    for line in lines:
        first.setdefault(line.row.keys, line)
    return [*first.values()]


def sweeps(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Field -> row -> value: the longest sweep of each number that rows vary alone, of SWEEP values or more."""
    flats = [row.recipe.flat() for row in rows]
    families: dict[tuple[str, str], dict[int, float]] = {}
    numbers = {k for f in flats for k, v in f.items() if type(v) in (int, float)}
    for name in sorted(k for k in numbers if len({repr(f.get(k)) for f in flats}) >= SWEEP):
        for i, flat in enumerate(flats):
            if type(flat.get(name)) in (int, float):
                rest = repr((rows[i].budget, {k: v for k, v in flat.items() if k != name}))
                families.setdefault((name, rest), {})[i] = float(flat[name])
    found: dict[str, dict[int, float]] = {}
    for (name, _), values in families.items():
        if len(set(values.values())) >= max(SWEEP, len(found.get(name, ())) + 1):
            found[name] = values
    return found


def groups(rows: Sequence[Row]) -> list[list[int]]:
    """The rows by section, in order; a second ladder or leave-one-out begins with its own unchanged row."""
    found: list[list[int]] = []
    for i, row in enumerate(rows):
        begins = row.section in PAIRED and not row.written.changed and row.label == row.base
        before = rows[i - 1]
        kinds = [(r.budget, r.section, not r.tuned) for r in (before, row)]
        if not found or begins or kinds[0] != kinds[1]:
            found.append([])
        found[-1].append(i)
    return found


def title(rows: Sequence[Row]) -> str:
    """What a group of rows is, in words."""
    first, last, section = rows[0].label, rows[-1].label, rows[0].section
    budget = f", {times(rows[0].budget)}" if rows[0].budget != 1 else ""
    if section == "ladder":
        return f"From {first} to {last}, one choice at a time{budget}"
    if section == "leave_one_out":
        return f"{first} without one choice at a time{budget}"
    if section == "factorial":
        return f"Combinations of {first} and {last}" + (", tuned" if rows[0].tuned else "") + budget
    return WORDS.get(section, section) + (", tuned" if rows[0].tuned else "") + budget


def varied(flats: Sequence[Mapping[str, Any]]) -> list[str]:
    """The flat fields in which rows differ, those that only some rows have included."""
    names = list(dict.fromkeys(name for flat in flats for name in flat))
    return [n for n in names if len({repr(flat.get(n, ...)) for flat in flats}) > 1]
