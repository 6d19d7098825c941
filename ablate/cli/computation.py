"""What `run` and `study` have in common: their options, and how a computation is shown in MLflow, ends and stops."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablate.cli import options
from ablate.cli.options import Source

if TYPE_CHECKING:
    from ablate.config.profile import Profile
    from ablate.execution.resources import Resources
    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store
    from ablate.tracking.live import Live

DRY_RUN = Annotated[bool, typer.Option("--dry-run", help="Show what would be computed; train nothing.")]
NO_DOCTOR = Annotated[bool, typer.Option("--no-doctor", help="Train without checking the recipes first.")]


@dataclass(frozen=True)
class Computation:
    """A file, the resources that compute it, and where its results go."""

    source: Source
    resources: Resources
    runs_dir: Path
    reports_dir: Path
    tracking_uri: str | None
    dry_run: bool
    examine: bool
    as_json: bool

    @property
    def say(self) -> Callable[..., None]:
        """Print a line for a person; nothing with `--json`."""
        return (lambda *words: None) if self.as_json else partial(print, flush=True)

    def stopping_after(self, hours: float | None) -> Computation:
        """The same computation, whose cells save and stop when so many hours from now are over; None: never."""
        until = None if hours is None else time.monotonic() + hours * 3600
        return replace(self, resources=replace(self.resources, until=until))

    def preflight(self, profile: Profile) -> None:
        """Stop here if samples could not be measured after training; say what a user should know about the data."""
        from ablate.evaluation.preflight import preflight

        for note in preflight(profile, self.runs_dir / "cache"):
            self.say(f"note: {note}")

    def place(self, experiment: Experiment) -> Path:
        """Stop here if the report's folder is another file's; say where the report goes if not to the usual folder."""
        from ablate.report import place

        found = place.find(experiment, self.reports_dir)
        if found.note:
            self.say(f"note: {found.note}")
        return found.folder

    def admit(self, experiment: Experiment, store: Store, retry_failed: bool = False) -> None:
        """Stop here if the doctor finds a recipe that does not do what it says, or a network cannot be built."""
        from ablate.doctor import gate

        if self.examine:
            gate.admit(experiment, store, self.say, retry_failed)
        else:
            gate.build(experiment, store, retry_failed)

    def decode(self, experiment: Experiment, store: Store) -> None:
        """Decode the images of missing cells once, here where the workers are; elsewhere the first worker does."""
        from ablate.execution import decoding, runner

        if self.resources.executor == "local":
            decoding.decode(runner.missing(experiment, store)[0], store.cache)

    @contextmanager
    def tracked(self, experiment: Experiment, store: Store, advice: str = "") -> Iterator[Live]:
        """Mirror the cells to MLflow while they run; an interruption ends the command with exit code 130."""
        from ablate.tracking.backend import ignored
        from ablate.tracking.live import Live

        for line in ignored(experiment.name):
            print(f"note: {line}", file=sys.stderr)
        with Live(experiment, store, self.tracking_uri) as live:
            try:
                yield live
            except KeyboardInterrupt:
                live.close([], {}, "interrupted")
                print(
                    f"interrupted: the same command resumes from the last checkpoints{advice}",
                    file=sys.stderr,
                )
                sys.exit(130)


def computation(
    file: options.FILE,
    profile: options.PROFILE = None,
    set_: options.SET = None,
    seeds: options.SEEDS = None,
    tune: options.TUNE = None,
    trials: options.TRIALS = None,
    tuning_seeds: options.TUNING_SEEDS = None,
    budgets: options.BUDGETS = None,
    extractor: options.EXTRACTOR = None,
    workers: options.WORKERS = None,
    workers_per_device: options.PER_DEVICE = 1,
    devices_per_cell: options.PER_CELL = 1,
    executor: options.EXECUTOR = "local",
    executor_option: options.EXECUTOR_OPTION = None,
    retries: options.RETRIES = 1,
    stall: options.STALL = None,
    runs_dir: options.RUNS = Path("runs"),
    reports_dir: options.REPORTS = Path("reports"),
    tracking_uri: options.TRACKING = None,
    dry_run: DRY_RUN = False,
    no_doctor: NO_DOCTOR = False,
    as_json: options.AS_JSON = False,
) -> Computation:
    """The parameters of every command that computes."""
    from ablate.execution.resources import Resources

    own: dict[str, Any] = options.overrides(executor_option, "--executor-option")
    resources = Resources(workers, workers_per_device, devices_per_cell, executor, own, retries, stall)
    by = [f"profile.evaluation.extractor={extractor}"] if extractor else []
    source = options.source(file, profile, [*(set_ or []), *by], seeds, tune, trials, tuning_seeds, budgets)
    return Computation(
        source, resources, runs_dir, reports_dir, tracking_uri, dry_run, not no_doctor, as_json
    )
