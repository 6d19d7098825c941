"""Progress bars while cells run; without a terminal, a line now and then and one for each cell that ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from ablate.core.formats import duration
from ablate.execution.scheduler import CellEnd
from ablate.planning.cells import Cell, Row
from ablate.runs import status
from ablate.runs.store import Folder

LOOK_S = 0.5  # between two looks into the folders of running cells
LINE_S = 30.0  # between two lines where there is no terminal
WIDEST = 40  # letters of a row's label
NAMED = 4  # running cells in a line
EARLY = 0.05  # of a cell's training: before, its speed says little


@dataclass
class Pace:
    """How long cells took, and how long the rest will take at that pace.

    took: seconds that the ended cells take from their first step. since: when the running ones started. before: the
    share of a running cell that an earlier run trained. at_once: most cells that ran together.
    """

    total: int
    took: list[float] = field(default_factory=list)
    since: dict[str, float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    at_once: int = 1

    def start(self, key: str, now: float, before: float = 0.0) -> None:
        """A cell started, or resumed at a share of its training."""
        self.since[key], self.before[key] = now, before
        self.at_once = max(self.at_once, len(self.since))

    def end(self, key: str, now: float) -> None:
        """A cell ended."""
        here = max(1 - self.before.pop(key, 0.0), EARLY)  # its share that was computed since it started
        self.took.append((now - self.since.pop(key, now)) / here)

    def left(self, now: float, shares: Mapping[str, float]) -> float | None:
        """Seconds until the last cell ends; None while nothing is known.

        Args:
            shares: how far the running cells are, from 0 to 1.
        """
        ages = {key: now - start for key, start in self.since.items()}
        here = {key: share - self.before[key] for key, share in shares.items() if key in ages}
        seen = self.took or [ages[key] / share for key, share in here.items() if share > EARLY]
        mean = sum(seen) / len(seen) if seen else 0.0
        if not mean:
            return None
        cells = self.total - len(self.took)
        rest = (max(mean * (1 - self.before[key]) - age, 0.05 * mean) for key, age in ages.items())
        work = mean * (cells - len(ages)) + sum(rest)
        return work / max(1, min(self.at_once, cells))


class Progress:
    """One bar for all cells and one for each running cell: row, seed, phase, images/s, loss, time left."""

    def __init__(self, total: int, rows: Iterable[Row] = ()):
        self.total, self.done, self.pace = total, 0, Pace(total)
        self.labels = dict[str, str]()
        for row in rows:
            self.name(row.named, row.keys)
        self.console = Console(file=sys.stderr)
        self.bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[text]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.cells: dict[str, tuple[Folder, Cell, TaskID]] = {}
        self.all = self.bars.add_task("cells", total=total, text=f"0 of {total}")
        self.due = 0.0

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def name(self, label: str, keys: Iterable[str]) -> None:
        """Set the row that cells are shown under; the first one with a cell is kept."""
        for key in keys:
            self.labels.setdefault(key, label)

    def print(self, text: str) -> None:
        """Print text above the bars."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def start(self, folder: Folder, cell: Cell) -> None:
        """A cell started or restarted."""
        if folder.key in self.cells:
            return
        before = status.phase(folder, cell.profile.steps)[1] / cell.profile.steps
        self.pace.start(folder.key, time.monotonic(), before)
        task = self.bars.add_task(self._named(cell), total=cell.profile.images, text=status.STARTING)
        self.cells[folder.key] = folder, cell, task

    def update(self) -> None:
        """Show how far the running cells are, as their folders say."""
        now = time.monotonic()
        if now < self.due or not self.cells:
            return
        self.due = now + (LOOK_S if self.console.is_terminal else LINE_S)
        shares, words = dict[str, float](), list[str]()
        for key, (folder, cell, task) in self.cells.items():
            phase, step, metrics = status.phase(folder, cell.profile.steps)
            shares[key] = step / cell.profile.steps
            speed = metrics.get("images_per_s", 0)
            text = f"{phase}  {speed:.0f} images/s  loss {metrics['loss']:.4g}" if speed else phase
            self.bars.update(task, completed=step * cell.profile.batch, text=text)
            words.append(
                f"{self._named(cell)}: {phase}" + (f" {shares[key]:.0%}" if phase == status.TRAINING else "")
            )
        left = self._left(now, shares)
        self.bars.update(
            self.all, completed=self.done + sum(shares.values()), text=f"{self.done} of {self.total}{left}"
        )
        if not self.console.is_terminal:
            more = [f"{len(words) - NAMED} more"] if len(words) > NAMED else []
            self.print(f"[{self.done}/{self.total}] {', '.join(words[:NAMED] + more)}{left}")

    def end(self, end: CellEnd) -> None:
        """A cell ended."""
        now = time.monotonic()
        if end.folder.key in self.cells:
            self.bars.remove_task(self.cells.pop(end.folder.key)[2])
        self.pace.end(end.folder.key, now)
        self.done += 1
        left = self._left(now, {}) if self.done < self.total else ""
        self.bars.update(self.all, completed=self.done, text=f"{self.done} of {self.total}{left}")
        self.print(
            f"[{self.done}/{self.total}] {self._named(end.cell)} ({end.cell.key}) {format_end(end)}{left}"
        )

    def spare(self, cell: Cell, why: str) -> None:
        """A cell of the total is not computed."""
        self.pace.total -= 1
        self.done += 1
        self.print(f"[{self.done}/{self.total}] {self._named(cell)} ({cell.key}) {why}")

    def _left(self, now: float, shares: Mapping[str, float]) -> str:
        seconds = self.pace.left(now, shares)
        return "" if seconds is None else f"; about {duration(round(seconds))} left"

    def _named(self, cell: Cell) -> str:
        label = self.labels.get(cell.key, cell.key)
        return f"{label if len(label) <= WIDEST else label[: WIDEST - 3] + '...'} seed {cell.seed}"


def format_end(end: CellEnd) -> str:
    """The state of a cell that ended, and its FIDs or the reason why there are none."""
    wall, fids = "", ""
    if end.record:
        wall = f" in {end.record['wall_s']:.0f} s"
        fids = ", ".join(f"{f['nfe']}-step FID {f['value']:.4g}" for f in end.record["fid"])
    return f"{end.state}{wall}: {fids or end.reason}"
