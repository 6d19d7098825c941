"""The report of a running experiment: after the first seed of all rows, and again after each further one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ablate.core.formats import count
from ablate.planning.experiment import Experiment
from ablate.runs.store import Store

PATIENCE_S = 20.0  # for a report that is being written when the run is interrupted

Show = Callable[[str], None]


class Interim:
    """Writes reports in a thread, so that no worker waits for one; if it falls behind, it leaves some out.

    Args:
        table: the text that is shown of an experiment's results.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: Store,
        reports: Path,
        table: Callable[[Experiment, Store, Path], str],
    ):
        self.experiment, self.store, self.reports, self.table = experiment, store, reports, table
        self.thread = threading.Thread()

    def __enter__(self) -> Interim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.thread.ident:
            self.thread.join(PATIENCE_S if kind else None)

    def write(self, seeds: int, show: Show) -> None:
        """Write the report, which has so many seeds of all rows, and show its table."""
        if not self.thread.is_alive():
            self.thread = threading.Thread(target=self._write, args=(seeds, show), daemon=True)
            self.thread.start()

    def _write(self, seeds: int, show: Show) -> None:
        from ablate.report import writer

        try:
            folder = writer.write(self.experiment, self.store, self.reports)
            shown = self.table(self.experiment, self.store, folder)
        except Exception as error:  # of any kind: it never ends the run, whose own report raises it again
            show(f"warning: no report yet: {error!r:.200}")
            return
        total = count(len(self.experiment.seeds), "seed")
        if shown and not all(self.store.folder(key).recorded for key in self.experiment.cells):
            # otherwise the run's own table follows at once
            show(f"{shown}\nafter {seeds} of {total}; the report so far is {folder / 'index.html'}")
