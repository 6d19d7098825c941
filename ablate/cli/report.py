"""`report` and `summary`: tables, figures and verdicts from what is recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional

import typer

from ablate.cli.options import (
    AS_JSON,
    CLAIMS_ONLY,
    REPORTS,
    RUNS,
    SEEDS,
    SET,
    Source,
    expanded,
    overrides,
    present,
    seed_list,
    source,
    takes,
)
from ablate.core.errors import SpecError

if TYPE_CHECKING:
    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store

app = typer.Typer()


@app.command(rich_help_panel="Results", epilog="Example: ablate report experiments/table1.yaml")
@takes(source)
def report(
    chosen: Source,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
    records: Annotated[
        Optional[str],
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="Read an MLflow URI or a records.jsonl, or a study's storage, not the runs.",
        ),
    ] = None,
    beside: Annotated[
        Optional[Path],
        typer.Option(metavar="REPORT", help="Print the FIDs beside those of another report's folder."),
    ] = None,
    extractor: Annotated[
        Optional[str],
        typer.Option(metavar="NAME|FILE", help="Show what `evaluate` measured by it, not the first results."),
    ] = None,
    claims_only: CLAIMS_ONLY = False,
    check_claims: Annotated[
        bool, typer.Option("--check-claims", help="Exit code 1 unless all claims are supported.")
    ] = False,
    as_json: AS_JSON = False,
) -> None:
    """Write tables and figures from what is recorded; never trains."""
    from ablate.analysis import sequential
    from ablate.planning.file import is_study
    from ablate.report import beside as besides
    from ablate.report import writer
    from ablate.report.merged import merged
    from ablate.runs.store import Store
    from ablate.tracking import sources

    if is_study(chosen.file):
        if check_claims:
            raise SpecError(f"{chosen.file}: --check-claims: a study has no claims")
        if beside:
            raise SpecError(f"{chosen.file}: --beside: a study has no rows")
        if claims_only:
            raise SpecError(f"{chosen.file}: --claims-only: a study has no claims")
        _study(chosen, runs_dir, reports_dir, records, as_json)
    experiment = chosen.experiment(runs_dir, records)
    experiment = sequential.claimed_only(experiment) if claims_only else experiment
    for note in experiment.notes:
        print(f"note: {note}", file=sys.stderr)
    with sources.reading(records, experiment, runs_dir) as (place, refused):
        for problem in refused:
            print(f"left out: {problem}", file=sys.stderr)
        store = Store(place)
        experiment = sequential.recorded(experiment, place)
        by = _by(experiment, store, extractor) if extractor else ""
        folder = writer.write(experiment, store, reports_dir, by)
        results = merged(experiment, store, folder, by)
        verdicts = results.verdicts
        if beside and not as_json:
            print(besides.beside(results, beside), end="\n\n")
    if as_json:
        plain = [{**v.claim.model_dump(include={"id", "says"}), **v.plain()} for v in verdicts]
        print(json.dumps({"report": str(folder), "claims": plain}, indent=1))
    else:
        lines = [f"{v.claim.id}: {v.state}: {v.because}" for v in verdicts]
        print("\n".join([*lines, str(folder / "table.md")]))
    sys.exit(1 if check_claims and any(v.state != "supported" for v in verdicts) else 0)


def _by(experiment: Experiment, store: Store, extractor: str) -> str:
    """The extractor of a report's columns, as records name it."""
    from ablate.analysis import frame
    from ablate.evaluation import ruler

    name = Path(extractor).stem if ruler.named(extractor) else extractor
    known = {key: store.record(key) for key in experiment.cells}
    if not any(record and record.get("fid") for record in frame.chosen(known, name).values()):
        measured = {e.get("extractor") for r in known.values() if r for e in r.get("fid") or []}
        by = f"by {' and '.join(sorted(filter(None, measured)))} only" if measured else "yet"
        raise SpecError(f"--extractor {extractor}: no cell was measured by it; the cells were measured {by}")
    return name


def _study(chosen: Source, runs_dir: Path, reports_dir: Path, storage: str | None, as_json: bool) -> NoReturn:
    from ablate.cli.study import finish
    from ablate.study import result
    from ablate.study import search as studies

    plan = studies.load(chosen.file, chosen.profile, chosen.overrides, chosen.seeds, runs_dir)
    for note in plan.experiment.notes:
        print(f"note: {note}", file=sys.stderr)
    search = studies.load_study(plan, runs_dir, storage)
    finish(plan, search, result.write(plan, search, reports_dir), "", as_json, storage)


@app.command(
    rich_help_panel="Results",
    epilog="Example: ablate summary experiments/table1.yaml experiments/claims.yaml",
)
def summary(
    files: Annotated[
        Optional[list[Path]],
        typer.Argument(metavar="[FILE]...", help="All of experiments/ unless named.", callback=present),
    ] = None,
    set_: SET = None,
    seeds: SEEDS = None,
    runs_dir: RUNS = Path("runs"),
    reports_dir: REPORTS = Path("reports"),
    insert: Annotated[
        Optional[list[Path]],
        typer.Option(
            help="A Markdown page whose tables of claims are made anew; repeatable.", callback=expanded
        ),
    ] = None,
) -> None:
    """Write one page that answers all claims over all profiles with records; never trains."""
    from ablate.core import yaml_files
    from ablate.report import summary

    shipped = next((f for f in yaml_files.folders("") if f.is_dir()), Path("experiments"))
    chosen = files or sorted(file for file in shipped.glob("*.yaml") if file.name != "reference.yaml")
    print(summary.summary(chosen, runs_dir, reports_dir, overrides(set_), seed_list(seeds), insert or ()))
