"""`run`: compute the missing cells of an experiment, then write its report."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ablate.cli.computation import Computation, computation
from ablate.cli.options import CLAIMS_ONLY, takes

if TYPE_CHECKING:
    from ablate.analysis.sequential import Budget
    from ablate.execution.runner import Outcome
    from ablate.planning.cells import Cell, Row
    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store
    from ablate.study.plan import Plan
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
    cards: Annotated[
        bool, typer.Option("--cards", help="With --dry-run: memory and hours on common GPUs, estimated.")
    ] = False,
    max_hours: Annotated[
        Optional[float], typer.Option(min=0, help="Leave out what takes longer, by the file's priorities.")
    ] = None,
    stop_after: Annotated[
        Optional[float],
        typer.Option(metavar="HOURS", min=0, help="Save and stop then, with a report of what is computed."),
    ] = None,
    claims_only: CLAIMS_ONLY = False,
) -> None:
    """Compute the missing cells of an experiment, then write its report."""
    from ablate.analysis import sequential
    from ablate.cli import costs
    from ablate.cli import outcome as shown
    from ablate.execution import runner
    from ablate.execution.scheduler import TIME_IS_UP
    from ablate.planning import tuning
    from ablate.report import place, writer
    from ablate.report.merged import merged
    from ablate.runs.store import Store

    c = c.stopping_after(stop_after)
    experiment = c.source.experiment()
    c.resources.check(experiment.profile)
    c.preflight(experiment.profile)
    experiment = sequential.claimed_only(experiment) if claims_only else experiment
    for note in experiment.notes:
        c.say(f"note: {note}")
    folder = c.place(experiment)
    plans: Mapping[str, Plan] = {}
    if experiment.tuning:
        from ablate.study import tuning as studies

        plans = studies.plans(experiment)
    experiment = sequential.recorded(tuning.known(experiment, folder), c.runs_dir)
    if max_hours is not None:
        experiment = costs.within(experiment, Store(c.runs_dir), c.resources, max_hours)
        c.say(f"note: {experiment.notes[-1]}" if experiment.notes else f"it fits into {max_hours:g} hours")
    if c.dry_run:
        costs.show(experiment, c.runs_dir, c.resources, time and max_hours is None, cards, c.as_json)
        return
    store = Store.writable(c.runs_dir)
    c.admit(experiment, store, failed)
    place.claim(experiment, c.reports_dir)
    with c.tracked(experiment, store) as live:
        c.decode(experiment, store)
        hours = sequential.Budget(max_hours, c.resources.at_once(experiment.profile)[0])
        experiment, broken = _tune(c, experiment, plans, store, live)
        outcome = _compute(c, experiment, store, live, failed, hours)
        folder = writer.write(experiment, store, c.reports_dir)
        results = merged(experiment, store, folder)
        state = "interrupted" if outcome.late else "failed" if outcome.failed or broken else "finished"
        live.close([folder], outcome.counts() | results.metrics(), state, results)
    c.say(shown.text(results))
    if outcome.computed and (link := live.link()):
        c.say(link)
    plain = {"report": str(folder), "states": outcome.states, "computed": outcome.computed}
    print(json.dumps(plain) if c.as_json else runner.format_outcome(outcome, folder))
    if broken:
        late = broken == TIME_IS_UP
        print(f"{'note' if late else 'error'}: tuning: {broken}", file=sys.stderr)
    sys.exit(1 if outcome.failed or broken else 0)


def _tune(
    c: Computation, experiment: Experiment, plans: Mapping[str, Plan], store: Store, live: Live
) -> tuple[Experiment, str]:
    """Compute the missing trials; the experiment with the tuned rows, and why trials are missing."""
    from ablate.analysis import sequential

    if not experiment.tuning:
        return experiment, ""
    from ablate.execution import runner
    from ablate.planning import trials
    from ablate.planning import tuning as planned
    from ablate.study import tuning

    def show(row: Row, cells: list[Cell]) -> None:
        for cell in cells:
            tags = {
                "row": row.label,
                "section": "tuning",
                "seed": str(cell.seed),
                "profile": cell.profile.name,
            }
            live.add(store.folder(cell.key), tags | {"changed": ", ".join(row.changed)})

    planned.save(experiment, store.path)
    make_scheduler = partial(c.resources.scheduler, experiment.profile)
    broken = tuning.run(experiment, plans, store, make_scheduler, show, live.follow)
    experiment = sequential.recorded(experiment, c.runs_dir)
    runner.name(trials.with_trials(experiment), store)
    return experiment, broken


def _compute(
    c: Computation, experiment: Experiment, store: Store, live: Live, failed: bool, hours: Budget
) -> Outcome:
    """Compute the cells, then further seeds until the file's claims are decided; how all cells ended."""
    from ablate.analysis import budgets, sequential
    from ablate.cli import outcome as shown
    from ablate.cli.interim import Interim
    from ablate.execution import runner
    from ablate.report import place
    from ablate.tracking.live import cell_tags

    table = (lambda *_: "") if c.as_json else shown.of
    total = runner.Outcome()
    make_scheduler = partial(c.resources.scheduler, experiment.profile)
    folder = place.find(experiment, c.reports_dir).folder

    def compute() -> bool:
        for key, tags in cell_tags(experiment).items():
            live.add(store.folder(key), tags)
        with Interim(experiment, store, c.reports_dir, table) as interim:
            for part in budgets.stages(experiment, store, folder, c.say):
                total.join(runner.run(part, store, make_scheduler, live.follow, failed, interim.write))
        return not total.failed

    sequential.decide(experiment, store, compute, hours, c.say)
    return total
