"""`run`: compute the missing cells of an experiment, then write its report."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ablate.cli.computation import Computation, computation
from ablate.cli.options import takes

if TYPE_CHECKING:
    from ablate.execution.runner import Outcome
    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store
    from ablate.tracking.live import Live

app = typer.Typer()


@app.command(rich_help_panel="Compute", epilog="Example: ablate run experiments/table1.yaml --seeds 0")
@takes(computation)
def run(
    c: Computation,
    failed: Annotated[bool, typer.Option("--failed", help="Compute failed cells once more.")] = False,
    time: Annotated[
        bool, typer.Option("--time", help="With --dry-run: time 20 steps of each network.")
    ] = False,
    max_hours: Annotated[
        Optional[float], typer.Option(min=0, help="Leave out what takes longer, by the file's priorities.")
    ] = None,
    claims_only: Annotated[
        bool, typer.Option("--claims-only", help="Leave out the rows that no claim of the file compares.")
    ] = False,
) -> None:
    """Compute the missing cells of an experiment, then write its report."""
    from ablate.analysis import sequential
    from ablate.cli import costs
    from ablate.cli import outcome as shown
    from ablate.execution import runner
    from ablate.report import place, writer
    from ablate.report.merged import merged
    from ablate.runs.store import Store

    experiment = c.source.experiment()
    c.resources.check(experiment.profile)
    c.preflight(experiment.profile)
    experiment = sequential.claimed_only(experiment) if claims_only else experiment
    for note in experiment.notes:
        c.say(f"note: {note}")
    c.place(experiment)
    experiment = sequential.recorded(experiment, c.runs_dir)
    if max_hours is not None:
        experiment = costs.within(experiment, Store(c.runs_dir), c.resources, max_hours)
        c.say(f"note: {experiment.notes[-1]}" if experiment.notes else f"it fits into {max_hours:g} hours")
    if c.dry_run:
        costs.show(experiment, c.runs_dir, c.resources, time and max_hours is None, c.as_json)
        return
    store = Store.writable(c.runs_dir)
    c.admit(experiment, store, failed)
    place.claim(experiment, c.reports_dir)
    with c.tracked(experiment, store) as live:
        c.decode(experiment, store)
        outcome = _compute(c, experiment, store, live, failed, max_hours)
        folder = writer.write(experiment, store, c.reports_dir)
        results, state = merged(experiment, store, folder), "failed" if outcome.failed else "finished"
        live.close([folder], outcome.counts() | results.metrics(), state, results)
    c.say(shown.text(results))
    if outcome.computed and (link := live.link()):
        c.say(link)
    plain = {"report": str(folder), "states": outcome.states, "computed": outcome.computed}
    print(json.dumps(plain) if c.as_json else runner.format_outcome(outcome, folder))
    sys.exit(1 if outcome.failed else 0)


def _compute(
    c: Computation, experiment: Experiment, store: Store, live: Live, failed: bool, hours: float | None
) -> Outcome:
    """Compute the cells, then further seeds until the file's claims are decided; how all cells ended."""
    from ablate.analysis import sequential
    from ablate.cli import outcome as shown
    from ablate.cli.interim import Interim
    from ablate.execution import runner
    from ablate.tracking.live import cell_tags

    table = (lambda *_: "") if c.as_json else shown.of
    total = runner.Outcome()
    budget = sequential.Budget(hours, c.resources.at_once(experiment.profile)[0])
    make_scheduler = partial(c.resources.scheduler, experiment.profile)

    def compute() -> bool:
        for key, tags in cell_tags(experiment).items():
            live.add(store.folder(key), tags)
        with Interim(experiment, store, c.reports_dir, table) as interim:
            total.join(runner.run(experiment, store, make_scheduler, live.follow, failed, interim.write))
        return not total.failed

    sequential.decide(experiment, store, compute, budget, c.say)
    return total
