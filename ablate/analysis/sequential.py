"""Seeds until the claims are decided: which cells an experiment needs next, from what is recorded alone.

The same records give the same next cells, whoever asks and however often it was interrupted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ablate.analysis import frame, verdicts
from ablate.core.errors import SpecError
from ablate.planning import tuning
from ablate.planning.cells import Cell, Row
from ablate.planning.experiment import Experiment, answering
from ablate.runs.store import Store


def further(experiment: Experiment, store: Store) -> dict[int, Cell]:
    """Row -> cell: the next seed for the rows of undecided claims, of those with the fewest seeds; empty at the end."""
    if not experiment.more_seeds:
        return {}
    table = verdicts.scores(frame.frame(experiment, frame.records(experiment, store)))
    every = (*_first(experiment), *experiment.more_seeds)
    open_rows = [rows for _, rows in verdicts.undecided(experiment, verdicts.answers(experiment, table))]
    seeds = {i: len(experiment.rows[i].keys) for rows in open_rows for i in rows}
    least = min(seeds.values(), default=len(every))
    if least >= len(every):
        return {}
    chosen = {experiment.rows[i].keys for i, n in seeds.items() if n == least}
    found = {}
    for i, row in enumerate(experiment.rows):
        if row.keys in chosen:  # equal rows stay equal
            cell = experiment.cells[row.keys[0]]
            found[i] = cell.at(every[least])
    return found


def _first(experiment: Experiment) -> tuple[int, ...]:
    return tuple(seed for seed in experiment.seeds if seed not in experiment.more_seeds)


def grow(experiment: Experiment, cells: dict[int, Cell]) -> None:
    """Add a seed's cells to their rows."""
    for i, cell in cells.items():
        row = experiment.rows[i]
        experiment.rows[i] = replace(row, keys=(*row.keys, cell.key))
        experiment.cells.setdefault(cell.key, cell)
    experiment.seeds = tuple(dict.fromkeys([*experiment.seeds, *(c.seed for c in cells.values())]))


def recorded(experiment: Experiment, runs: Path) -> Experiment:
    """The experiment with the tuned rows and all the further seeds that are recorded already; nothing is written."""
    experiment = tuning.known(experiment, runs)
    return grown(experiment, Store(runs)) if experiment.more_seeds and runs.is_dir() else experiment


def grown(experiment: Experiment, store: Store) -> Experiment:
    """The experiment with all the further seeds that the store has."""
    while all(store.record(key) for row in asked(experiment) for key in row.keys):
        cells = further(experiment, store)
        if not cells or not all(store.record(cell.key) for cell in cells.values()):
            break
        grow(experiment, cells)
    return experiment


def asked(experiment: Experiment) -> list[Row]:
    """The rows that the experiment's claims compare."""
    found = set[int]()
    for claim in experiment.claims:
        with contextlib.suppress(SpecError):  # its rows were left out, or changed by --set
            found |= experiment.places(partial(tuning.rows_of, claim))
    return [experiment.rows[i] for i in sorted(found)]


def claimed_only(experiment: Experiment) -> Experiment:
    """The experiment with no other rows than its claims compare, for who wants answers before a whole table.

    Raises:
        SpecError: it has no claims.
    """
    found = set[int]()
    for claim in experiment.claims:
        with contextlib.suppress(SpecError):
            # no row is tuned yet: those that will be
            found |= experiment.places(partial(answering, claim))
    rows = [experiment.rows[i] for i in sorted(found)]
    if not rows:
        raise SpecError(f"--claims-only: {experiment.file} has no claims with rows")
    written = sum(row.tuned is None for row in experiment.rows)  # the tuned ones are found again
    if left := written - len(rows):
        experiment.notes.append(f"--claims-only: {left} of {written} rows are left out")
    return experiment.only(rows)


class Budget:
    """Hours of this command, from its start: may so many cells more be computed?"""

    def __init__(self, hours: float | None, workers: int):
        self.hours, self.workers, self.began = hours, workers, time.monotonic()

    def allows(self, experiment: Experiment, store: Store, cells: dict[int, Cell]) -> bool:
        """Whether there is time for cells that take as long as others of their rows did."""
        if self.hours is None:
            return True
        needed = 0.0
        for i in cells:
            took = [r["wall_s"] for key in experiment.rows[i].keys if (r := store.record(key))]
            needed += sum(took) / len(took) if took else 0.0
        return time.monotonic() - self.began + needed / self.workers <= self.hours * 3600


def decide(
    experiment: Experiment,
    store: Store,
    compute: Callable[[], bool],
    budget: Budget,
    say: Callable[[str], None],
) -> None:
    """Compute an experiment, then further seeds until its claims are decided or the budget is gone.

    Args:
        compute: computes what is missing; False where cells failed, which more seeds would not mend.
    """
    while compute():
        cells = further(experiment, store)
        if not cells:
            return
        if not budget.allows(experiment, store, cells):
            say(f"note: hours are used up before all claims are decided; {len(cells)} cells would be next")
            return
        grow(experiment, cells)
        seed = next(iter(cells.values())).seed
        say(f"seed {seed} for {len(cells)} of {len(experiment.rows)} rows: their claims are undecided")
