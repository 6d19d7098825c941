"""Progress bars while cells run; without a terminal, one line per cell that ends."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from ablate.execution.scheduler import CellEnd
from ablate.planning.cells import Cell
from ablate.runs.store import Folder


class Progress:
    """One bar for all cells and one for each running cell: images/s, loss, N, time left."""

    def __init__(self, total: int):
        self.total, self.done = total, 0
        self.console = Console(file=sys.stderr)
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.cells: dict[str, tuple[Folder, Cell, TaskID]] = {}
        self.all = self.bars.add_task("cells", total=total, text="")

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def start(self, folder: Folder, cell: Cell) -> None:
        """A cell started or restarted."""
        if folder.key in self.cells:
            return
        task = self.bars.add_task(f"{cell.key} seed {cell.seed}", total=cell.profile.images, text="")
        self.cells[folder.key] = folder, cell, task

    def update(self) -> None:
        """Read the progress of the running cells from their folders."""
        if not self.console.is_terminal:
            return
        for folder, cell, task in self.cells.values():
            line = folder.last()
            if line:
                m = line["metrics"]
                text = f"{m.get('images_per_s', 0):.0f} images/s  loss {m.get('loss', 0):.4g}  N {m.get('N', 0):.0f}"
                self.bars.update(task, completed=min(line["images"], cell.profile.images), text=text)

    def end(self, end: CellEnd) -> None:
        """A cell ended."""
        if end.folder.key in self.cells:
            self.bars.remove_task(self.cells.pop(end.folder.key)[2])
        self.done += 1
        self.bars.update(self.all, completed=self.done)
        line = f"[{self.done}/{self.total}] {format_end(end)}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def format_end(end: CellEnd) -> str:
    """One line: the cell, its state, and its FIDs or the reason why there are none."""
    wall, fids = "", ""
    if end.record:
        wall = f" in {end.record['wall_s']:.0f} s"
        fids = ", ".join(f"{f['nfe']}-step FID {f['value']:.4g}" for f in end.record["fid"])
    return f"{end.cell.key} seed {end.cell.seed} {end.state}{wall}: {fids or end.reason}"
