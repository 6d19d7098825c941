"""`evaluate`: measure finished cells again from their weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ablate.cli.options import AS_JSON, PROFILE, RUNS, SEEDS, SET, levels, source
from ablate.core.errors import SpecError

if TYPE_CHECKING:
    from ablate.runs.store import Store

app = typer.Typer()


@app.command(rich_help_panel="Results", epilog="Example: ablate evaluate 33dd --extractor inception")
def evaluate(
    target: Annotated[
        str, typer.Argument(metavar="FILE|KEY", help="An experiment file, or the key of a finished cell.")
    ],
    extractor: Annotated[
        Optional[str],
        typer.Option(metavar="NAME|FILE", help="inception, classifier, or an extractor's file."),
    ] = None,
    samples: Annotated[
        Optional[int], typer.Option(min=16, max=10**6, help="The profile's number by default.")
    ] = None,
    sigmas: Annotated[
        Optional[str], typer.Option(help="Levels of one sampling schedule, descending: 80,0.82.")
    ] = None,
    profile: PROFILE = None,
    set_: SET = None,
    seeds: SEEDS = None,
    runs_dir: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """Measure finished cells again from their weights, and add the results to their records; never trains."""
    from ablate.core.formats import count
    from ablate.evaluation import extractors
    from ablate.inference import measure_again
    from ablate.runs import failures
    from ablate.runs.store import Store

    wanted = measure_again.Wanted(extractor or "", samples, tuple(levels(sigmas)))
    file = Path(target).suffix in (".yaml", ".yml") or Path(target).is_file()
    if not file and (profile or set_ or seeds):
        raise SpecError(f"{target}: --profile, --set and --seeds belong to an experiment file, not to a cell")
    store = Store(runs_dir)
    if extractor and not extractors.of_file(extractor, store.path / "cache", "--extractor"):
        extractors.require(extractor)
    if file:
        experiment = source(Path(target), profile, set_, seeds).recorded(runs_dir)
        keys, data = [*experiment.cells], experiment.profile.data
    else:
        keys, data = [_key(store, target)], None
    here, without = measure_again.split(store, keys)
    lacking = f"{count(len(without), 'finished cell')} without weights on this machine: {', '.join(without)}"
    if not here:
        raise SpecError(
            lacking if without else f"{target}: no finished cell of it in {store.path}; run it first"
        )
    found: dict[str, Any] = {}
    failed: dict[str, Exception] = {}
    for again in measure_again.measure(Store.writable(runs_dir), here, wanted, data):
        if again.failed:
            failed[again.key] = again.failed
            print(f"{again.key}: {failures.line(again.failed)}", file=sys.stderr, flush=True)
            continue
        found[again.key] = again.entries
        if not as_json:
            print(_line(again.key, again.entries), flush=True)
    if as_json:
        why = {key: failures.line(error) for key, error in failed.items()}
        print(json.dumps({"measured": found, "failed": why, "without_weights": without}, indent=1))
    if without:
        print(lacking, file=sys.stderr)
    mistake = any(isinstance(error, SpecError) for error in failed.values())
    sys.exit(2 if mistake else 1 if failed or without else 0)


def _key(store: Store, text: str) -> str:
    from ablate.inference.model import find

    return find(store, text).key


def _line(key: str, entries: dict[str, list[dict[str, Any]]]) -> str:
    if not entries:
        return f"{key}: measured so before"
    fid = next(iter(entries.values()))[0]
    parts = [
        f"{name} {e['value']:.4g} in {e['nfe']} step{'s' if e['nfe'] > 1 else ''}"
        for name, several in entries.items()
        for e in several
    ]
    return f"{key}: {', '.join(parts)} ({fid['extractor']}, n={fid['n']})"
