"""Commands on an experiment file: compute, examine, report, look at it in MLflow."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from ablate.cli.options import (
    AS_JSON,
    EXECUTOR,
    EXECUTOR_OPTION,
    FILE,
    PER_CELL,
    PER_DEVICE,
    PROFILE,
    REPORTS,
    RETRIES,
    RUNS,
    SEEDS,
    SET,
    STALL,
    TRACKING,
    WORKERS,
    overrides,
    seed_list,
)

app = typer.Typer()


@app.command()
def run(
    file: FILE,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    workers: WORKERS = None,
    workers_per_device: PER_DEVICE = 1,
    devices_per_cell: PER_CELL = 1,
    executor: EXECUTOR = "local",
    executor_option: EXECUTOR_OPTION = None,
    retries: RETRIES = 1,
    stall: STALL = None,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
    tracking_uri: TRACKING = None,
    failed: Annotated[bool, typer.Option("--failed", help="Compute failed cells once more.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cells and train nothing.")] = False,
    time: Annotated[
        bool, typer.Option("--time", help="With --dry-run: time 20 steps of each network.")
    ] = False,
    max_hours: Annotated[
        Optional[float], typer.Option(min=0, help="Leave out what takes longer, by the file's priorities.")
    ] = None,
    claims_only: Annotated[
        bool, typer.Option("--claims-only", help="Leave out the rows that no claim of the file compares.")
    ] = False,
    no_doctor: Annotated[bool, typer.Option("--no-doctor", help="Train without examining first.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Compute what is missing of an experiment, then write its report."""
    from ablate.analysis import sequential
    from ablate.cli import costs
    from ablate.doctor import gate
    from ablate.execution import runner
    from ablate.execution.resources import Resources
    from ablate.planning import planner
    from ablate.report import writer
    from ablate.runs.store import Store
    from ablate.tracking.live import Live

    options = overrides(executor_option, "--executor-option")
    means = Resources(
        workers, workers_per_device, devices_per_cell, executor, options, retries=retries, stall_min=stall
    )
    experiment = planner.load(file, profile, overrides(set_), seed_list(seeds))
    means.check(experiment.profile)
    experiment = sequential.needed(experiment) if claims_only else experiment
    say = (lambda *words: None) if as_json else print
    for note in experiment.notes:
        say(f"note: {note}")
    experiment = sequential.recorded(experiment, runs_dir)
    if dry_run and max_hours is None:
        costs.show(experiment, runs_dir, means, time, as_json)
        return
    store = Store(runs_dir)
    if max_hours is not None:
        experiment = costs.within(experiment, store, means, max_hours)
        say(f"note: {experiment.notes[-1]}" if experiment.notes else f"it fits into {max_hours:g} hours")
        if dry_run:
            costs.show(experiment, runs_dir, means, False, as_json)
            return
    if not no_doctor:
        gate.admit(experiment, store, say, failed)
    with Live(experiment, store, tracking_uri) as live:
        try:
            outcome = _computed(experiment, store, means, live, failed, max_hours, say)
        except KeyboardInterrupt:
            live.close([], {}, "interrupted")
            print("interrupted: the same command goes on from the last checkpoints", file=sys.stderr)
            sys.exit(130)
        folder = write_report(experiment, store, reports_dir)
        numbers = outcome.counts() | writer.means(folder)
        live.close([folder], numbers, "failed" if outcome.failed else "finished")
    if outcome.computed and (link := live.comparison([row.keys[0] for row in experiment.rows])):
        say(link)
    told = {"report": str(folder), "states": outcome.states, "computed": outcome.computed}
    print(json.dumps(told) if as_json else runner.closing(outcome, folder))
    sys.exit(1 if outcome.failed else 0)


def _computed(
    experiment: Any, store: Any, means: Any, live: Any, failed: bool, hours: float | None, say: Any
) -> Any:
    """Compute the cells, then further seeds where the file wants its claims decided; how all cells ended."""
    from ablate.analysis import sequential
    from ablate.execution import runner
    from ablate.tracking.live import cell_tags

    total, budget = runner.Outcome(), sequential.Budget(hours, means.at_once(experiment.profile)[0])

    def compute() -> bool:
        for key, tags in cell_tags(experiment).items():
            live.add(store.folder(key), tags)
        total.join(
            runner.run(experiment, store, partial(means.crew, experiment.profile), live.follow, failed)
        )
        return not total.failed

    sequential.decide(experiment, store, compute, budget, say)
    return total


@app.command()
def doctor(
    file: FILE,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    compiled: Annotated[bool, typer.Option("--compiled", help="Compile the network for check 4.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Examine an experiment's recipes in seconds; exit code 1 where one fails other than on purpose."""
    from ablate.doctor import gate
    from ablate.planning import planner

    experiment = planner.load(file, profile, overrides(set_), seed_list(seeds))
    sys.exit(gate.command(experiment, as_json, compiled))


def write_report(experiment: Any, store: Any, reports_dir: Path) -> Path:
    """The experiment's tables and figures; the folder they are in."""
    from ablate.report import writer

    return writer.write(experiment, store, reports_dir)


@app.command()
def report(
    file: FILE,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
    source: Annotated[
        Optional[str],
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="Read an MLflow URI or a records.jsonl, or a study's storage, not the runs.",
        ),
    ] = None,
    check_claims: Annotated[
        bool, typer.Option("--check-claims", help="Exit code 1 unless all claims are supported.")
    ] = False,
    as_json: AS_JSON = False,
) -> None:
    """Write tables and figures from what is recorded; never trains."""
    from ablate.analysis import sequential
    from ablate.core.errors import SpecError
    from ablate.planning import planner
    from ablate.report.writer import answers
    from ablate.runs.store import Store
    from ablate.tracking import sources

    if planner.searches(file):
        from ablate.cli.search import tell
        from ablate.study import result
        from ablate.study import search as studies

        if check_claims:
            raise SpecError(f"{file}: --check-claims: a study has no claims")
        searched = studies.load(file, profile, overrides(set_), seed_list(seeds))
        search = studies.recorded(searched, runs_dir, source)
        tell(searched, search, result.write(searched, search, reports_dir), "", as_json)
    experiment = planner.load(file, profile, overrides(set_), seed_list(seeds))
    with sources.reading(source, experiment, runs_dir) as (place, refused):
        for problem in refused:
            print(f"left out: {problem}", file=sys.stderr)
        store = Store(place)
        experiment = sequential.recorded(experiment, place)
        folder, found = write_report(experiment, store, reports_dir), answers(experiment, store)
    if as_json:
        plain = [{**v.claim.model_dump(include={"id", "says"}), **v.plain()} for v in found]
        print(json.dumps({"report": str(folder), "claims": plain}, indent=1))
    else:
        print(
            "\n".join([*(f"{v.claim.id}: {v.state}: {v.because}" for v in found), str(folder / "table.md")])
        )
    sys.exit(1 if check_claims and any(v.state != "supported" for v in found) else 0)


@app.command()
def summary(
    files: Annotated[
        Optional[list[Path]], typer.Argument(metavar="[FILE]...", help="All of experiments/ unless named.")
    ] = None,
    set_: SET = None,
    seeds: SEEDS = None,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
) -> None:
    """Write one page that answers all claims over all profiles with records; never trains."""
    from ablate.core import yaml_files
    from ablate.report import summary

    shipped = next((f for f in yaml_files.folders("") if f.is_dir()), Path("experiments"))
    chosen = files or sorted(file for file in shipped.glob("*.yaml") if file.name != "reference.yaml")
    print(summary.summary(chosen, runs_dir, reports_dir, overrides(set_), seed_list(seeds)))


@app.command()
def ui(
    runs_dir: RUNS = Path("runs"),
    tracking_uri: TRACKING = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open the MLflow UI on this machine's loopback address."""
    from ablate.tracking.server import serve

    sys.exit(serve(runs_dir, tracking_uri, port))
