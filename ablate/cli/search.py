"""The command that searches: an Optuna study of a recipe's fields."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

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

if TYPE_CHECKING:
    from ablate.planning.cells import Cell, Row
    from ablate.tracking.live import Live

app = typer.Typer()
STORAGE = Annotated[
    Optional[str],
    typer.Option(metavar="URL", help="Of an Optuna storage; by default a journal beside the runs."),
]


@app.command()
def study(
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
    storage: STORAGE = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is searched and train nothing.")
    ] = False,
    no_doctor: Annotated[bool, typer.Option("--no-doctor", help="Train without examining first.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Search fields of a recipe with Optuna; the same command goes on where it ended."""
    from ablate.doctor import gate
    from ablate.execution.resources import Resources
    from ablate.runs.store import Store
    from ablate.study import result
    from ablate.study import search as studies
    from ablate.tracking.live import Live

    options = overrides(executor_option, "--executor-option")
    means = Resources(
        workers, workers_per_device, devices_per_cell, executor, options, retries=retries, stall_min=stall
    )
    plan = studies.load(file, profile, overrides(set_), seed_list(seeds))
    means.check(plan.experiment.profile)
    if dry_run:
        print(json.dumps(_plain(plan)) if as_json else _told(plan))
        return
    store = Store(runs_dir)
    search = studies.opened(plan, store.path, storage)
    if not no_doctor:
        gate.admit(plan.around(), store, (lambda *words: None) if as_json else print, False)
    with Live(plan.experiment, store, tracking_uri) as live:
        try:
            crew_of = partial(means.crew, plan.experiment.profile)
            broken = studies.run(plan, search, store, crew_of, partial(_show, plan, live, store), live.follow)
        except KeyboardInterrupt:
            live.close([], {}, "interrupted")
            print(
                "interrupted: the same command goes on from the last checkpoints; "
                "`ablate report` with this file shows the trials that have ended",
                file=sys.stderr,
            )
            sys.exit(130)
        folder = result.write(plan, search, reports_dir)
        states = studies.states(search)
        live.close([folder], states, "failed" if broken else "finished")
    tell(plan, search, folder, broken, as_json)


@app.command()
def importance(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Experiment files with records.")],
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    runs_dir: RUNS = Path("runs"),
    nfe: Annotated[int, typer.Option(min=1, help="Of the FID: 1 or 2 steps.")] = 1,
    as_json: AS_JSON = False,
) -> None:
    """Which ingredient decides over all finished cells of some experiments; never trains."""
    from ablate.analysis import sequential
    from ablate.planning import planner
    from ablate.runs.store import Store
    from ablate.study.importance import importance

    planned = [planner.load(file, profile, overrides(set_), seed_list(seeds)) for file in files]
    found = importance([sequential.recorded(e, runs_dir) for e in planned], Store(runs_dir), nfe)
    print(json.dumps(found, indent=1) if as_json else _shares(found))


def _shares(found: dict[str, dict[str, float]]) -> str:
    """Factors by lines, evaluators by columns, the largest first."""
    from ablate.report.markdown import table

    first = next(iter(found.values()))
    rows = [
        [name, *(f"{100 * shares[name]:.0f} %" for shares in found.values())]
        for name in sorted(first, key=lambda n: -first[n])
    ]
    return table(["share of the spread of log FID", *found], rows)


def _show(plan: Any, live: Live, store: Any, row: Row, cells: list[Cell]) -> None:
    """Tell MLflow of a trial: a run for each of its cells."""
    for cell in cells:
        tags = {
            "row": row.label,
            "section": "study",
            "seed": str(cell.seed),
            "profile": plan.experiment.profile.name,
        }
        live.add(store.folder(cell.key), tags | {"changed": ", ".join(row.changed)})


def tell(plan: Any, search: Any, folder: Path, broken: str, as_json: bool) -> NoReturn:
    """A study's end: its lowest trials, how many there are, where the report is; exits with 1 where there is none."""
    from ablate.study import result
    from ablate.study import search as studies

    best, states = result.bests(plan, search), studies.states(search)
    found = {
        name: {"trial": t.number, "value": t.values[i], "params": t.params}
        for i, (name, t) in enumerate(best.items())
    }
    if as_json:
        print(json.dumps({"report": str(folder), "states": states, "best": found}))
    else:
        for name, b in found.items():
            values = ", ".join(
                f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in b["params"].items()
            )
            print(f"lowest {name}: {b['value']:.4g} with {values} (trial {b['trial']})")
        counted = ", ".join(f"{n:.0f} {state}" for state, n in states.items())
        print(f"{counted}; the report is {folder / 'table.md'}")
    if broken:
        print(f"error: {broken}", file=sys.stderr)
    sys.exit(1 if broken or not best else 0)


def _plain(plan: Any) -> dict[str, Any]:
    """`--dry-run --json`."""
    e, c = plan.experiment, plan.content
    return {
        "name": c.name,
        "study": plan.id,
        "profile": e.profile.name,
        "objective": list(plan.objective),
        "search": {name: str(distribution) for name, distribution in plan.space.items()},
        "base": plan.at_base(),
        "trials": c.trials,
        "seeds": list(e.seeds),
        "images": c.trials * len(e.seeds) * e.profile.steps * e.profile.batch,
    }


def _told(plan: Any) -> str:
    """`--dry-run` for a terminal."""
    plain = _plain(plan)
    head = f"{plain['study']} on {plain['profile']}: {plain['trials']} trials of {len(plain['seeds'])} cells"
    cost = f"at most {plain['images']} images; nothing was trained"
    return "\n".join([f"{head}, {cost}", *(f"{name}  {d}" for name, d in plain["search"].items())])
