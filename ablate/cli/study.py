"""`study` searches fields of a recipe; `importance` says which ingredient decides."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer

from ablate.cli.computation import Computation, computation
from ablate.cli.options import AS_JSON, PROFILE, RUNS, SEEDS, SET, present, source, takes
from ablate.core import hint

if TYPE_CHECKING:
    from ablate.planning.cells import Cell, Row
    from ablate.runs.store import Store
    from ablate.study.plan import Plan
    from ablate.tracking.live import Live

app = typer.Typer()
STORAGE = Annotated[
    Optional[str],
    typer.Option(metavar="URL", help="Of an Optuna storage; by default a journal beside the runs."),
]


@app.command(rich_help_panel="Compute", epilog="Example: ablate study experiments/study_huber.yaml")
@takes(computation)
def study(c: Computation, storage: STORAGE = None) -> None:
    """Search fields of a recipe with Optuna; the same command resumes an interrupted search."""
    from ablate.report import place
    from ablate.runs.store import Store
    from ablate.study import result
    from ablate.study import search as studies

    plan = studies.load(c.source.file, c.source.profile, c.source.overrides, c.source.seeds)
    c.resources.check(plan.experiment.profile)
    c.preflight(plan.experiment.profile)
    for note in plan.experiment.notes:
        c.say(f"note: {note}")
    c.place(plan.experiment)
    studies.check(plan, c.runs_dir, storage)
    if c.dry_run:
        print(json.dumps(_plain(plan)) if c.as_json else _format(plan))
        return
    store = Store.writable(c.runs_dir)
    search = studies.open_study(plan, store.path, storage)
    c.admit(plan.around(), store)
    place.claim(plan.experiment, c.reports_dir)
    shows = hint.command("report", c.source.file, *(["--from", storage] if storage else []), keep=hint.WHOLE)
    advice = f"; {shows} shows the trials that have ended"
    with c.tracked(plan.experiment, store, advice) as live:
        make_scheduler = partial(c.resources.scheduler, plan.experiment.profile)
        show = partial(_show, plan, live, store)
        broken = studies.run(plan, search, store, make_scheduler, show, live.follow)
        folder = result.write(plan, search, c.reports_dir)
        live.close([folder], studies.states(search), "failed" if broken else "finished")
    finish(plan, search, folder, broken, c.as_json, storage)


@app.command(rich_help_panel="Results", epilog="Example: ablate importance experiments/ingredients.yaml")
def importance(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Experiment files with records.", callback=present),
    ],
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    runs_dir: RUNS = Path("runs"),
    records: Annotated[
        Optional[str],
        typer.Option("--from", metavar="SOURCE", help="Read an MLflow URI or a records.jsonl, not the runs."),
    ] = None,
    nfe: Annotated[int, typer.Option(min=1, help="Of the FID: 1 or 2 steps.")] = 1,
    as_json: AS_JSON = False,
) -> None:
    """Show which ingredient matters most over all finished cells of some experiments; never trains."""
    from ablate.analysis import sequential
    from ablate.runs.store import Store
    from ablate.study.importance import importance
    from ablate.tracking import sources

    planned = [source(file, profile, set_, seeds).experiment(runs_dir, records) for file in files]
    with sources.reading(records, planned[0], runs_dir, *planned[1:]) as (place, refused):
        for problem in refused:
            print(f"left out: {problem}", file=sys.stderr)
        shares = importance([sequential.recorded(e, place) for e in planned], Store(place), nfe)
    print(json.dumps(shares, indent=1) if as_json else _shares(shares))


def _shares(found: dict[str, dict[str, float]]) -> str:
    """Factors by lines, evaluators by columns, the largest first."""
    from ablate.report.markdown import table
    from ablate.statistics.importance import MOST, trust

    first = next(iter(found.values()))
    rows = [
        [name, *(f"{100 * shares[name]:.0f} %" for shares in found.values())]
        for name in sorted(first, key=lambda n: -first[n])
    ]
    needs = f"every combination of at most {MOST} factors, equally often"
    missing = "" if "Shapley" in found else f"\nShapley is missing: it needs {needs}."
    return f"{table(['share of the spread of log FID', *found], rows)}\n{missing}\n{trust(found)}"


def _show(plan: Plan, live: Live, store: Store, row: Row, cells: list[Cell]) -> None:
    """Show a trial in MLflow: a run for each of its cells."""
    for cell in cells:
        tags = {
            "row": row.label,
            "section": "study",
            "seed": str(cell.seed),
            "profile": plan.experiment.profile.name,
        }
        live.add(store.folder(cell.key), tags | {"changed": ", ".join(row.changed)})


def finish(
    plan: Plan, search: Any, folder: Path, broken: str, as_json: bool, storage: str | None
) -> NoReturn:
    """Print a study's lowest trials, their number and where the report is; exit with 1 if there is no trial."""
    from ablate.study import result
    from ablate.study import search as studies
    from ablate.study.trials import shortfall

    best, states = result.bests(plan, search), studies.states(search)
    missing = shortfall(plan, search)
    found = {
        name: {"trial": t.number, "value": t.values[i], "params": plan.params(t)}
        for i, (name, t) in enumerate(best.items())
    }
    if as_json:
        print(json.dumps({"report": str(folder), "states": states, "best": found, "missing": missing}))
    else:
        for name, b in found.items():
            values = ", ".join(
                f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in b["params"].items()
            )
            print(f"lowest {name}: {b['value']:.4g} with {values} (trial {b['trial']})")
        counted = ", ".join(f"{n:.0f} {state}" for state, n in states.items())
        print(
            "; ".join([counted or "no trial has ended", *missing, f"the report is {folder / 'index.html'}"])
        )
        if plan.content.trials > sum(states.values()) and not plan.exhaustive:
            words = ["--storage", storage] if storage else []
            print(f"to continue: {hint.command('study', plan.experiment.file, *words, keep=hint.WHOLE)}")
    if broken:
        print(f"error: {broken}", file=sys.stderr)
    sys.exit(1 if broken or not best else 0)


def _plain(plan: Plan) -> dict[str, Any]:
    """`--dry-run --json`."""
    e, c = plan.experiment, plan.content
    return {
        "name": c.name,
        "study": plan.id,
        "profile": e.profile.name,
        "objective": list(plan.objective),
        "search": {name: str(distribution) for name, distribution in plan.space.items()},
        "base": plan.at_base(),
        "trials": plan.most,
        "seeds": list(e.seeds),
        "images": plan.most * len(e.seeds) * e.profile.steps * e.profile.batch,
    }


def _format(plan: Plan) -> str:
    """`--dry-run` for a terminal."""
    plain = _plain(plan)
    head = f"{plain['study']} on {plain['profile']}: {plain['trials']} trials of {len(plain['seeds'])} cells"
    if plan.exhaustive:
        head += f" ({plan.content.trials} asked for; the grid has {plan.exhaustive.points} points)"
    cost = f"at most {plain['images']} images; nothing was trained"
    return "\n".join([f"{head}, {cost}", *(f"{name}  {d}" for name, d in plain["search"].items())])
