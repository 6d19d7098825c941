"""Rows over budgets: FIDs and effects at each number of images, and predictions made before a budget is computed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.analysis import frame, verdicts
from ablate.core.formats import count
from ablate.planning.cells import bases, times
from ablate.statistics import scaling
from ablate.statistics.effect import SMALLEST, Scores, Table, floor
from ablate.statistics.scaling import Effects, Law, Point

if TYPE_CHECKING:
    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store

FILE = "predictions.jsonl"  # of a report's folder; lines are added, never changed
FURTHEST = 50.0  # log ratio: an interval from two seeds may be wider than any number that means something


@dataclass(frozen=True)
class Track:
    """A row at every budget: its places among the experiment's rows, and those of its base, smallest budget first."""

    label: str
    base: str
    rows: tuple[int, ...]
    bases: tuple[int | None, ...]
    images: tuple[int, ...]
    totals: tuple[int, ...]  # images with those of the cells that the row's cells read
    scores: tuple[Scores, ...]  # one-step FIDs by seed at each budget; infinite where training diverged
    # log FIDs of the row and of its base, at budgets where both have some and none diverged
    points: tuple[Point, ...]

    @cached_property
    def law(self) -> Law | None:
        """FID over `totals`; None where a run diverged, or of fewer than two budgets."""
        pairs = [
            (n, fid) for n, scores in zip(self.totals, self.scores, strict=True) for fid in scores.values()
        ]
        return scaling.law([n for n, _ in pairs], [max(fid, SMALLEST) for _, fid in pairs])

    @cached_property
    def effects(self) -> Effects | None:
        """The effect over images; None without two budgets."""
        return scaling.effects(self.points)


def tracks(experiment: Experiment, table: Table) -> list[Track]:
    """The rows of an experiment with `budgets`; one that repeats the cells and the base of another is left out."""
    rows = experiment.rows
    of = bases(rows, [row.recipe.flat() for row in rows])
    columns = [[i for i, row in enumerate(rows) if row.budget == budget] for budget in experiment.budgets]
    images = tuple(experiment.profile_of(rows[column[0]]).images for column in columns if column)
    measured = sorted({how for (_, nfe), hows in table.items() if nfe == 1 for how in hows})
    how = max(measured, key=lambda how: sum(how in hows for hows in table.values()), default="")
    floors = [
        floor(verdicts.of_budget(experiment, table, budget), ((1, 1.0),), how)
        for budget in experiment.budgets
    ]
    found: dict[tuple[Any, ...], Track] = {}
    for places in zip(*columns, strict=True):
        own = [table.get((i, 1), {}).get(how, {}) for i in places]
        below = [of[i] for i in places]
        other = [{} if j is None else table.get((j, 1), {}).get(how, {}) for j in below]
        sides = zip(images, map(_logs, own), map(_logs, other), floors, strict=True)
        points = tuple(Point(n, a, b, least) for n, a, b, least in sides if a and b)
        first, base = rows[places[0]], below[0]
        track = Track(
            first.label,
            rows[base].label if base is not None else "",
            places,
            tuple(below),
            images,
            tuple(experiment.cells[rows[i].keys[0]].images_in_all for i in places),
            tuple(own),
            points,
        )
        found.setdefault((first.keys, rows[base].keys if base is not None else ()), track)
    return [*found.values()]


def _logs(scores: Scores) -> list[float]:
    """Log FIDs; none where a run diverged: what the others show would flatter the row."""
    finite = all(fid < math.inf for fid in scores.values())
    return [math.log(max(fid, SMALLEST)) for fid in scores.values()] if finite else []


def read(folder: Path) -> list[dict[str, Any]]:
    """The predictions of a report, oldest first; the first one of a row at a budget counts."""
    found: dict[Any, dict[str, Any]] = {}
    with suppress(OSError, UnicodeDecodeError):
        for text in (folder / FILE).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, LookupError, TypeError, AttributeError):  # cut off, or edited
                line = json.loads(text)
                if all(
                    math.isfinite(line[name]) for name in ("ratio", "low", "high", "seen_low", "seen_high")
                ):
                    found.setdefault(_name(line), line)
    return [*found.values()]


def predict(experiment: Experiment, table: Table, store: Store, folder: Path, budget: float) -> int:
    """Add the predicted effects of a budget to a report's file, before any of its cells starts.

    A row is predicted once, and only where neither it nor its base has begun at this budget.

    Args:
        table: the experiment's scores.
    Returns:
        How many lines were added.
    """
    known = {_name(line) for line in read(folder)}
    lines = [line for line in _predicted(experiment, table, store, budget) if _name(line) not in known]
    if lines:
        file = folder / FILE
        torn = file.exists() and not file.read_bytes().endswith(b"\n")  # the end of a line that was cut off
        text = "\n" * torn + "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        with file.open("a", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
    return len(lines)


def _name(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["row_key"], line["base_key"]


def _predicted(experiment: Experiment, table: Table, store: Store, budget: float) -> Iterator[dict[str, Any]]:
    at, rows, now = (
        experiment.budgets.index(budget),
        experiment.rows,
        datetime.now(UTC).isoformat("T", "seconds"),
    )
    for track in tracks(experiment, table):
        base = track.bases[at]
        if base is None:
            continue
        row, other = rows[track.rows[at]], rows[base]
        if any(store.folder(key).path.exists() for key in (*row.keys, *other.keys)):
            continue
        images = track.images[at]
        before = [point for point in track.points if point.images < images]
        seeds = min(len(row.keys), len(other.keys))
        found = scaling.predict(before, images, seeds)
        if found is None:
            continue
        ratios = {name: math.exp(max(-FURTHEST, min(v, FURTHEST))) for name, v in vars(found).items()}
        yield {
            "time": now,
            "budget": budget,
            "images": images,
            "row": row.label,
            "base": other.label,
            "ratio": ratios.pop("value"),
            **ratios,
            "from_images": [point.images for point in before],
            "seeds": [*experiment.seeds[:seeds]],
            "row_key": row.keys[0],
            "base_key": other.keys[0],
        }


@dataclass(frozen=True)
class Seen:
    """A prediction, and what was seen: the ratio of geometric means, None where a side has no result yet."""

    line: dict[str, Any]
    ratio: float | None

    @property
    def inside(self) -> bool | None:
        """Whether the ratio lies in the interval for what the seeds show."""
        return None if self.ratio is None else self.line["seen_low"] <= self.ratio <= self.line["seen_high"]


def seen(experiment: Experiment, found: Sequence[Track], predictions: Sequence[dict[str, Any]]) -> list[Seen]:
    """The predictions of the experiment's rows with what was seen, in the order in which they were made."""
    shown = dict[tuple[str, str], float | None]()
    for track in found:
        ratios = {
            point.images: sum(point.row) / len(point.row) - sum(point.base) / len(point.base)
            for point in track.points
        }
        for i, j, images in zip(track.rows, track.bases, track.images, strict=True):
            if j is not None:
                log = ratios.get(images)
                names = experiment.rows[i].keys[0], experiment.rows[j].keys[0]
                shown[names] = None if log is None else math.exp(log)
    return [Seen(line, shown[name]) for line in predictions if (name := _name(line)) in shown]


def stages(
    experiment: Experiment, store: Store, folder: Path, say: Callable[[str], None]
) -> Iterator[Experiment]:
    """What to compute one after another: the rows of each budget, predicted just before their first cell starts.

    Args:
        folder: of the report.
    """
    for budget, part in zip(experiment.budgets, experiment.by_budget(), strict=False):
        if not all(store.record(key) for key in part.cells):
            table = verdicts.scores(frame.frame(experiment, frame.records(experiment, store)))
            added = predict(experiment, table, store, folder, budget)
            more = f"; {count(added, 'effect')} predicted in {folder / FILE}" if added else ""
            say(f"{times(budget)}: {count(len(part.cells), 'cell')} of {part.profile.steps:,} steps{more}")
        yield part
    if not experiment.budgets:
        yield experiment
