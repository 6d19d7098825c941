"""The trials of tuned rows as cells: those that are recorded, and stand-ins for those that are missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ablate.planning.cells import Cell
from ablate.planning.experiment import Experiment
from ablate.planning.tuning import kept, most, studies, tuned_recipe


def outstanding(experiment: Experiment) -> list[Cell]:
    """Stand-ins for the cells that only the trials decide, to count and to time them: missing trials, tuned rows."""
    cells = list[Cell]()
    for name, row in studies(experiment).items():
        assert experiment.tuning
        tune, found, some = (
            experiment.tuning.tune,
            experiment.tuning.found.get(name),
            experiment.cells[row.keys[0]],
        )
        if found and found.complete:
            continue
        profile = tune.profile(some.profile)
        left = range(len(found.ended) if found else 0, most(tune, row))
        cells += [
            replace(some, key=f"{name} trial {n}", profile=profile, seed=s) for n in left for s in tune.seeds
        ]
        cells += [replace(some, key=f"{name} tuned", seed=s) for s in experiment.seeds]
    return [replace(cell, key=f"{cell.key} seed {cell.seed}") for cell in cells]


def with_outstanding(experiment: Experiment) -> Experiment:
    """The experiment with its recorded trials and with those stand-ins among its cells."""
    made = with_trials(experiment)
    return replace(made, cells=made.cells | {cell.key: cell for cell in outstanding(experiment)})


def with_trials(experiment: Experiment) -> Experiment:
    """The experiment with the recorded trials as further rows, to show their progress and to keep their cells."""
    made = replace(experiment, rows=[*experiment.rows], cells=dict(experiment.cells))
    for name, row in studies(experiment).items():
        assert experiment.tuning
        tuning, some = experiment.tuning, experiment.cells[row.keys[0]]
        profile = tuning.tune.profile(some.profile)
        for trial in tuning.found[name].tried if name in tuning.found else []:
            recipe = tuned_recipe(row, trial.params, tuning.shape, kept(experiment))
            label = f"{row.label}, trial {trial.number}"
            pairs = zip(trial.keys, tuning.tune.seeds, strict=False)
            cells = [Cell(key, recipe, profile, s, some.fingerprint, some.imports) for key, s in pairs]
            made.rows.append(
                replace(row, label=label, recipe=recipe, keys=tuple(trial.keys), section="tuning")
            )
            made.cells |= {cell.key: made.cells.get(cell.key, cell) for cell in cells}
    return made


def listing(experiment: Experiment) -> dict[str, Any]:
    """`--dry-run --json`: what tuning adds; empty without it."""
    if not experiment.tuning:
        return {}
    tune, found, names = experiment.tuning.tune, experiment.tuning.found, studies(experiment)
    profiles = [tune.profile(experiment.cells[row.keys[0]].profile) for row in names.values()]
    each = [most(tune, row) for row in names.values()]
    steps = sum(n * p.steps * p.batch for n, p in zip(each, profiles, strict=True))
    return {
        "tuning": {
            "studies": dict(zip(names, (row.label for row in names.values()), strict=True)),
            "trials": sum(each),
            "ended": sum(len(found[name].ended) for name in names if name in found),
            "cells": sum(each) * len(tune.seeds),
            "images": steps * len(tune.seeds),
            "seeds": tune.seeds,
            "unknown": sum(c.key.split()[1] == "tuned" for c in outstanding(experiment)),
        }
    }


def overview(experiment: Experiment) -> list[str]:
    """`--dry-run` for the terminal."""
    if not experiment.tuning:
        return []
    t, tune = listing(experiment)["tuning"], experiment.tuning.tune
    each = " or ".join(map(str, sorted({most(tune, row) for row in studies(experiment).values()})))
    line = (
        f"tuning {', '.join(tune.search)}: {each} trials for each of {len(t['studies'])} recipes, "
        f"{t['cells']} cells of {t['images']} images in all ({t['ended']} of {t['trials']} trials have ended)"
    )
    rest = f"tuned rows: {t['unknown']} cells with keys that are unknown until then" if t["unknown"] else ""
    return [line, *([rest] if rest else [])]
