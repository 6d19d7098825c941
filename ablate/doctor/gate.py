"""`ablate doctor`, and the same checks before `run`, where findings are cached so that a recipe is examined once."""

from __future__ import annotations

import faulthandler
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ablate
from ablate.config import recipe as recipes
from ablate.config.profile import Profile
from ablate.config.recipe import Recipe
from ablate.core import crashes
from ablate.core.errors import SpecError
from ablate.core.files import read_json, write_json
from ablate.core.formats import count
from ablate.core.hardware import devices, forkserver, use
from ablate.data import datasets
from ablate.doctor.findings import Finding, format_finding, with_verdicts
from ablate.planning.cells import Cell
from ablate.planning.experiment import Experiment
from ablate.planning.too_short import unreached
from ablate.runs.store import Store, describe, restore

FORMAT = 3  # of the cached findings; increase it to examine all recipes again
STOPS = ("failed", "error")
BUILT = "problems.json"


def command(experiment: Experiment, as_json: bool, compiled: bool) -> int:
    """Print every finding on the recipes of an experiment; returns the exit code."""
    from ablate.doctor.examine import examine

    rows, device = [], _device()
    for part in experiment.by_budget():
        for label, cell in distinct(part).items():
            recipe = cell.recipe
            label = label if len(experiment.budgets) < 2 else f"{label} ({part.profile.images:,} images)"
            findings = examine(label, recipe, cell.profile, device, compiled)
            findings += with_verdicts(label, recipe, too_short(recipe, cell.profile))
            rows += findings
            if not as_json:
                print("\n".join(map(format_finding, findings)), flush=True)
    print(json.dumps(rows, indent=1) if as_json else summary(rows))
    return int(any(row["verdict"] in STOPS for row in rows))


def too_short(recipe: Recipe, profile: Profile) -> list[Finding]:
    """Warnings about settings that a run does not reach; `run` and `study` print them as notes when they plan."""
    return [
        Finding(
            f"length of the run: {u.setting}", f"{u.value:.12g}", u.bound, False, advice=True, detail=u.advice
        )
        for u in unreached(recipe, profile)
    ]


def summary(rows: list[dict[str, Any]]) -> str:
    """The last line of `doctor`: counts of recipes, findings, failures and warnings."""
    verdicts = [row["verdict"] for row in rows]
    failed, warnings = sum(v in STOPS for v in verdicts), sum(v in ("replay", "advice") for v in verdicts)
    return f"{len({r['recipe'] for r in rows})} recipes, {len(rows)} findings: {failed} failed, {warnings} warnings"


def distinct(experiment: Experiment) -> dict[str, Cell]:
    """The first cell of each distinct recipe of an experiment, by the label of the first row with it."""
    labels, found = experiment.labels(), dict[str, Cell]()
    first = {row.keys[0]: (row.label, experiment.cells[row.keys[0]]) for row in reversed(experiment.rows)}
    cells = {row.keys[0]: first[row.keys[0]] for row in experiment.rows}
    cells |= {k: (labels[k], c) for k, c in experiment.needed.items() if c.seed == experiment.seeds[0]}
    for key, (label, cell) in cells.items():
        found[f"{label} ({key})" if label in found else label] = cell
    return found


def _device() -> str:
    return "cpu" if devices() == ["cpu"] else "cuda"


def admit(
    experiment: Experiment, store: Store, say: Callable[[str], Any], retry_failed: bool = False
) -> None:
    """Examine the recipes that `run` is about to train, except finished ones, and print warnings with `say`.

    The checks run in a process forked from the workers' server, since this process has not imported torch.

    Raises:
        SpecError: the checks that failed or could not be made; a defect that is replayed on purpose is only a warning.
    """
    cells = {
        verdict_path(store, cell): cell
        for cell in experiment.all_cells.values()
        if _missing(store, cell, retry_failed)
    }
    new = {str(path): describe(cell) for path, cell in cells.items() if _unsettled(read_json(path))}
    died = ""
    if new:
        say(f"checking {count(len(new), 'recipe')}")
        died = _fork(new)
    _report({path: read_json(path) for path in cells}, cells, experiment, say, died)


def build(experiment: Experiment, store: Store, retry_failed: bool = False) -> None:
    """Build the networks of other people's code that `run --no-doctor` is about to train, each once.

    Raises:
        SpecError: those that cannot be built; their workers would find it only one by one.
    """
    labels, found = experiment.labels(), dict[str, Cell]()
    for cell in experiment.all_cells.values():
        if cell.recipe.network.foreign and _missing(store, cell, retry_failed):
            found.setdefault(repr(cell.recipe.network), cell)
    if not found:
        return
    rows = {labels[cell.key]: describe(cell) for cell in found.values()}
    with tempfile.TemporaryDirectory() as place:
        died = _run(_build, json.dumps(rows), place)
        problems = read_json(Path(place) / BUILT)
    if problems is None:
        raise SpecError(f"{experiment.file}: network: {died}")
    if problems:
        raise SpecError(*problems).under(str(experiment.file))


def _report(
    verdicts: dict[Path, Any],
    cells: dict[Path, Cell],
    experiment: Experiment,
    say: Callable[[str], Any],
    died: str,
) -> None:
    """Print the warnings, raise the failures and errors; `died`: how the process that checks recipes died."""
    labels = experiment.labels()
    unknown = [labels[cell.key] for path, cell in cells.items() if verdicts[path] is None]
    findings = [
        row | {"recipe": labels[cell.key]} for path, cell in cells.items() for row in verdicts[path] or []
    ]
    for row in (r for r in findings if not r["ok"] and r["verdict"] not in STOPS):
        say(f"doctor: {format_finding(row)}")
    # the first one is where it died; the others were not reached
    failed = [f"{label}: could not be examined: {died}" for label in unknown[:1]]
    failed += [format_finding(row) for row in findings if row["verdict"] in STOPS]
    if failed:
        raise SpecError(*failed, "nothing was trained; --no-doctor trains anyway")


def _unsettled(rows: Any) -> bool:
    """Whether a recipe is to be examined: it never was, or a check could not be made, which may be mended by now."""
    return rows is None or any(row["verdict"] == "error" for row in rows)


def _missing(store: Store, cell: Cell, retry_failed: bool) -> bool:
    record = store.record(cell.key)
    return record is None or (retry_failed and record["state"] == "failed")


def verdict_path(store: Store, cell: Cell) -> Path:
    """The file with the cached findings on the cell's recipe, shared by all its seeds."""
    data = cell.profile.data.model_dump(mode="json", exclude={"path", "test_path"})
    budget = {"doctor": FORMAT, "version": ablate.__version__, "steps": cell.profile.steps, "data": data}
    budget |= {"fingerprint": cell.fingerprint}
    budget |= {"compile": True} if cell.profile.compile else {}
    return store.cache / f"doctor-{recipes.key(cell.recipe, budget, 0)}.json"


def _fork(cells: dict[str, dict[str, Any]]) -> str:
    """Examine recipes in another process; how it died if it did."""
    return _run(_examine, json.dumps(cells), _device())


def _run(target: Callable[..., None], *arguments: str) -> str:
    """Run a function in a process forked from the workers' server; how it died if it did, in one line."""
    with tempfile.NamedTemporaryFile("r", errors="replace") as trace:
        process = forkserver().Process(target=_called, args=(trace.name, target, *arguments))
        process.start()
        try:
            process.join()
        finally:
            process.terminate()
        code = process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return crashes.crash(trace.read()) or f"the process that does it ended with {how}"


def _called(trace: str, target: Callable[..., None], *arguments: str) -> None:
    """Call a function in a session of its own like workers, and leave a trace of a crash."""
    os.setsid()
    with open(trace, "w") as file:
        faulthandler.enable(file, all_threads=False)
        target(*arguments)


def _examine(cells: str, device: str) -> None:
    """Examine recipes and cache their findings."""
    from ablate.doctor.examine import examine

    use(1)
    for path, config in json.loads(cells).items():
        cell = restore(config)
        write_json(Path(path), examine("", cell.recipe, cell.profile, device))


def _build(rows: str, place: str) -> None:
    """Build the network of each row; the problems go into a file in `place`."""
    from ablate.networks.foreign import adopt

    use(1)
    problems = list[str]()
    for label, config in json.loads(rows).items():
        cell = restore(config)
        data = cell.profile.data
        try:
            with crashes.exits_raise():
                adopt(cell.recipe.network(datasets.shape(data), datasets.classes(data)))
        except SpecError as error:
            problems += error.under(f"row {label!r}").problems
        except (Exception, SystemExit) as error:  # of your constructor
            by = crashes.raised_by(error)
            problems.append(f"row {label!r}: network: {by + ': ' if by else ''}{crashes.described(error)}")
    write_json(Path(place) / BUILT, problems)
