"""What a terminal shows while cells run; a line per ended cell where there is no terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from ablate.planning.cells import Cell
from ablate.runs.store import Folder


class Progress:
    """A bar for all cells and one for each that runs: images/s, loss, N, time left."""

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
        """A cell was handed to a worker, perhaps again."""
        if folder.key in self.cells:
            return
        task = self.bars.add_task(f"{cell.key} seed {cell.seed}", total=cell.profile.images, text="")
        self.cells[folder.key] = folder, cell, task

    def update(self) -> None:
        """Read how far the running cells are."""
        if not self.console.is_terminal:
            return
        for folder, cell, task in self.cells.values():
            line = folder.last()
            if line:
                m = line["metrics"]
                text = f"{m.get('images_per_s', 0):.0f} images/s  loss {m.get('loss', 0):.4g}  N {m.get('N', 0):.0f}"
                self.bars.update(task, completed=min(line["images"], cell.profile.images), text=text)

    def end(
        self, folder: Folder, cell: Cell, state: str, record: dict[str, Any] | None, reason: str = ""
    ) -> None:
        """A cell is done with."""
        if folder.key in self.cells:
            self.bars.remove_task(self.cells.pop(folder.key)[2])
        self.done += 1
        self.bars.update(self.all, completed=self.done)
        said = summary(cell, record) if record else f"{cell.key} seed {cell.seed} {state}: {reason}"
        self.console.print(
            f"[{self.done}/{self.total}] {said}", markup=False, highlight=False, soft_wrap=True
        )


def summary(cell: Cell, record: dict[str, Any]) -> str:
    """One line of an ended cell."""
    fids = ", ".join(f"{f['nfe']}-step FID {f['value']:.4g}" for f in record["fid"])
    said = fids or record.get("reason", "")
    return f"{cell.key} seed {cell.seed} {record['state']} in {record['wall_s']:.0f} s: {said}"
